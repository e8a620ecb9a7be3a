// The recurrent part of a GRU over whole sequences of few rows: `experts.recurrent.gru_sequence`.
//
// T step, R row, H hidden. reset (T, R): the state is zero before that step; NULL: never.
#include "gru.h"
#include "product.h"

// x_proj (T, R, 3 H) with its bias; weight (H, 3 H); bias (3 H) of the products with h; scratch (R, 3 H). Writes the states
// before the steps, previous (T, R, H), those after them, out (T, R, H), and saved (T, R, 4 H): gates, candidate, new_h.
KERNEL(gru_sequence,
       (int64_t T, int64_t R, int64_t H, const REAL *x_proj, const uint8_t *reset, const REAL *first, const REAL *weight,
        const REAL *bias, REAL *scratch, REAL *previous, REAL *out, REAL *saved),
       (T, R, H, x_proj, reset, first, weight, bias, scratch, previous, out, saved)) {
    for (int64_t t = 0; t < T; t++) {
        const REAL *before = t ? out + (t - 1) * R * H : first;
        REAL *start = previous + t * R * H;
        for (int64_t r = 0; r < R; r++) {
            if (reset && reset[t * R + r])
                memset(start + r * H, 0, H * sizeof(REAL));
            else
                memcpy(start + r * H, before + r * H, H * sizeof(REAL));
        }
        product(R, H, 3 * H, start, H, 1, weight, 3 * H, scratch, 3 * H);
        for (int64_t r = 0; r < R; r++) {
            REAL *row = saved + (t * R + r) * 4 * H;
            gru_row(H, x_proj + (t * R + r) * 3 * H, 0, scratch + r * 3 * H, bias, start + r * H, out + (t * R + r) * H, row,
                    row + 2 * H, row + 3 * H);
        }
    }
}

// grad (T, R, H) of the states; weight (3 H, H); scratch (R, H). carry (R, H): the gradient of the last state, and at the
// end that of the first. Writes the gradients of the products, to_x and to_h (T, R, 3 H).
KERNEL(gru_sequence_backward,
       (int64_t T, int64_t R, int64_t H, const REAL *grad, const uint8_t *reset, const REAL *weight, const REAL *previous,
        const REAL *saved, REAL *scratch, REAL *carry, REAL *to_x, REAL *to_h),
       (T, R, H, grad, reset, weight, previous, saved, scratch, carry, to_x, to_h)) {
    for (int64_t t = T - 1; t >= 0; t--) {
        for (int64_t r = 0; r < R; r++) {
            const int64_t at = t * R + r;
            const REAL *row = saved + at * 4 * H;
            REAL *restrict sum = carry + r * H;
            const REAL *restrict added = grad + at * H;
            SIMD_LOOP
            for (int64_t i = 0; i < H; i++) sum[i] += added[i];
            gru_row_backward(H, sum, previous + at * H, row, row + 2 * H, row + 3 * H, to_x + at * 3 * H,
                             to_h + at * 3 * H + 2 * H, sum);
            memcpy(to_h + at * 3 * H, to_x + at * 3 * H, 2 * H * sizeof(REAL));
        }
        product(R, 3 * H, H, to_h + t * R * 3 * H, 3 * H, 1, weight, H, scratch, H);
        for (int64_t r = 0; r < R; r++) {
            REAL *restrict sum = carry + r * H;
            const REAL *restrict added = scratch + r * H;
            if (reset && reset[t * R + r])
                memset(sum, 0, H * sizeof(REAL));
            else {
                SIMD_LOOP
                for (int64_t i = 0; i < H; i++) sum[i] += added[i];
            }
        }
    }
}
