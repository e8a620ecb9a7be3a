// A GRU's step for all rows, after its products: `experts.recurrent.gru_step`.
//
// A row of `products` and of its gradient has 4 H numbers: reset and update, of which the products with x and with h are
// added up, then the candidate's product with x, and that with h.
#include "gru.h"

// products (rows, 4 H), without biases, becomes gates, candidate and the candidate's product with h; h and out (rows, H).
KERNEL(gru_gates,
       (int64_t rows, int64_t H, const REAL *bias_x, const REAL *bias_h, const REAL *h, REAL *out, REAL *products),
       (rows, H, bias_x, bias_h, h, out, products)) {
    for (int64_t b = 0; b < rows; b++) {
        REAL *restrict gates = products + b * 4 * H, *restrict candidate = gates + 2 * H, *restrict new_h = gates + 3 * H;
        const REAL *restrict old = h + b * H;
        REAL *restrict new = out + b * H;
        SIMD_LOOP
        for (int64_t i = 0; i < 2 * H; i++) gates[i] = sigmoid(gates[i] + bias_x[i] + bias_h[i]);
        SIMD_LOOP
        for (int64_t i = 0; i < H; i++) {
            const REAL u = new_h[i] + bias_h[2 * H + i];
            const REAL n = hyperbolic_tangent(candidate[i] + bias_x[2 * H + i] + gates[i] * u);
            new_h[i] = u;
            candidate[i] = n;
            new[i] = n + gates[H + i] * (old[i] - n);
        }
    }
}

// saved: `products` after the step. to_products (rows, 4 H) and to_old (rows, H), past the products; sum_x and sum_h
// (3 H): the gradients of the biases.
KERNEL(gru_gates_backward,
       (int64_t rows, int64_t H, const REAL *grad, const REAL *h, const REAL *saved, REAL *to_products, REAL *to_old,
        REAL *sum_x, REAL *sum_h),
       (rows, H, grad, h, saved, to_products, to_old, sum_x, sum_h)) {
    memset(sum_x, 0, 3 * H * sizeof(REAL));
    memset(sum_h, 0, 3 * H * sizeof(REAL));
    for (int64_t b = 0; b < rows; b++) {
        const REAL *restrict gates = saved + b * 4 * H, *restrict new_h = gates + 3 * H;
        REAL *restrict to = to_products + b * 4 * H;
        gru_row_backward(H, grad + b * H, h + b * H, gates, gates + 2 * H, new_h, to, to + 3 * H, to_old + b * H);
        SIMD_LOOP
        for (int64_t i = 0; i < 3 * H; i++) sum_x[i] += to[i];
        SIMD_LOOP
        for (int64_t i = 0; i < H; i++) sum_h[2 * H + i] += to[3 * H + i];
    }
    memcpy(sum_h, sum_x, 2 * H * sizeof(REAL));
}
