// The elementwise part of a GRU for all rows: `experts.recurrent.gru_gates`.
#include "gru.h"

// x_proj and h_proj (rows, 3 H), h and out (rows, H); saved (rows, 4 H): gates, candidate, new_h.
KERNEL(gru_gates, (int64_t rows, int64_t H, const REAL *x_proj, const REAL *h_proj, const REAL *h, REAL *out, REAL *saved),
       (rows, H, x_proj, h_proj, h, out, saved)) {
    for (int64_t b = 0; b < rows; b++) {
        REAL *row = saved + b * 4 * H;
        gru_row(H, x_proj + b * 3 * H, 0, h_proj + b * 3 * H, 0, h + b * H, out + b * H, row, row + 2 * H, row + 3 * H);
    }
}

// sum_x and sum_h (3 H): sums of to_x and of to_h over the rows, the gradients of the biases.
KERNEL(gru_gates_backward,
       (int64_t rows, int64_t H, const REAL *grad, const REAL *h, const REAL *saved, REAL *to_x, REAL *to_h, REAL *to_old,
        REAL *sum_x, REAL *sum_h),
       (rows, H, grad, h, saved, to_x, to_h, to_old, sum_x, sum_h)) {
    memset(sum_x, 0, 3 * H * sizeof(REAL));
    memset(sum_h, 0, 3 * H * sizeof(REAL));
    for (int64_t b = 0; b < rows; b++) {
        const REAL *row = saved + b * 4 * H;
        REAL *restrict of_x = to_x + b * 3 * H, *restrict of_h = to_h + b * 3 * H;
        gru_row_backward(H, grad + b * H, h + b * H, row, row + 2 * H, row + 3 * H, of_x, of_h, to_old + b * H);
        SIMD_LOOP
        for (int64_t i = 0; i < 3 * H; i++) sum_x[i] += of_x[i];
        SIMD_LOOP
        for (int64_t i = 0; i < 3 * H; i++) sum_h[i] += of_h[i];
    }
}
