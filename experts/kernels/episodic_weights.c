// Parameters of an episodic memory around a GRU, stacked for its products, and their gradients taken apart again.
//
// D inputs, H hidden, K key, V value, G = 3 H gates, P = 2 K + G products, in the order key, query, gates.
#include "real.h"

INLINE void copy_columns(REAL *to, int64_t to_width, const REAL *from, int64_t from_width, int64_t rows, int64_t count) {
    for (int64_t r = 0; r < rows; r++) memcpy(to + r * to_width, from + r * from_width, count * sizeof(REAL));
}

// parameters: key (K, D + H), query (K, D + H), gates_x (G, D + V), gates_h (G, H), and the biases of the first three.
// Results: of_x (P, D), of_h (P, H) and bias (P).
KERNEL(episodic_stack, (REAL *const *parameters, int64_t D, int64_t H, int64_t K, int64_t V, REAL *of_x, REAL *of_h, REAL *bias),
       (parameters, D, H, K, V, of_x, of_h, bias)) {
    const int64_t G = 3 * H;
    for (int64_t i = 0; i < 2; i++) {
        copy_columns(of_x + i * K * D, D, parameters[i], D + H, K, D);
        copy_columns(of_h + i * K * H, H, parameters[i] + D, D + H, K, H);
        memcpy(bias + i * K, parameters[4 + i], K * sizeof(REAL));
    }
    copy_columns(of_x + 2 * K * D, D, parameters[2], D + V, G, D);
    memcpy(of_h + 2 * K * H, parameters[3], G * H * sizeof(REAL));
    memcpy(bias + 2 * K, parameters[6], G * sizeof(REAL));
}

// Gradients of the parameters in the order of `episodic_stack`, and of the bias of the products with h.
// by_x (P, D), by_h (K + G, H): of query and gates, by_after (K, H): of the key, by_read (G, V); inputs and products
// (rows, P): gradients of the products with x and with h, whose sums are those of the biases.
KERNEL(episodic_unstack,
       (REAL *const *gradients, int64_t D, int64_t H, int64_t K, int64_t V, const REAL *by_x, const REAL *by_h,
        const REAL *by_after, const REAL *by_read, const REAL *inputs, const REAL *products, int64_t rows, REAL *sums),
       (gradients, D, H, K, V, by_x, by_h, by_after, by_read, inputs, products, rows, sums)) {
    const int64_t G = 3 * H, P = 2 * K + G;
    for (int64_t i = 0; i < 2; i++) {
        copy_columns(gradients[i], D + H, by_x + i * K * D, D, K, D);
        copy_columns(gradients[i] + D, D + H, i ? by_h : by_after, H, K, H);
    }
    copy_columns(gradients[2], D + V, by_x + 2 * K * D, D, G, D);
    copy_columns(gradients[2] + D, D + V, by_read, V, G, V);
    memcpy(gradients[3], by_h + K * H, G * H * sizeof(REAL));
    memset(sums, 0, P * sizeof(REAL));
    REAL *restrict bias_h = gradients[7];
    memset(bias_h, 0, G * sizeof(REAL));
    for (int64_t r = 0; r < rows; r++) {
        const REAL *restrict of_x = inputs + r * P, *restrict of_h = products + r * P + 2 * K;
        for (int64_t i = 0; i < P; i++) sums[i] += of_x[i];
        for (int64_t i = 0; i < G; i++) bias_h[i] += of_h[i];
    }
    memcpy(gradients[4], sums, K * sizeof(REAL));
    memcpy(gradients[5], sums + K, K * sizeof(REAL));
    memcpy(gradients[6], sums + 2 * K, G * sizeof(REAL));
}
