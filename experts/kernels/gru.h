// The elementwise part of a GRU for one row: gates and new state from the products, and its gradient.
//
// H hidden; products have the order reset, update, new: W x + b and U h, to which `bias` is added unless it is NULL.
#ifndef BADGER_GRU_H
#define BADGER_GRU_H

#include "elementary.h"

// from_more is added to from_x unless it is NULL. gates (2 H), candidate (H) and new_h (H) are for the backward pass.
INLINE void gru_row(int64_t H, const REAL *restrict from_x, const REAL *restrict from_more, const REAL *restrict from_h,
                    const REAL *restrict bias, const REAL *restrict h, REAL *restrict out, REAL *restrict gates,
                    REAL *restrict candidate, REAL *restrict new_h) {
    SIMD_LOOP
    for (int64_t i = 0; i < 2 * H; i++)
        gates[i] = sigmoid(from_x[i] + from_h[i] + (from_more ? from_more[i] : 0) + (bias ? bias[i] : 0));
    SIMD_LOOP
    for (int64_t i = 0; i < H; i++) {
        const REAL u = from_h[2 * H + i] + (bias ? bias[2 * H + i] : 0);
        const REAL n = hyperbolic_tangent(from_x[2 * H + i] + (from_more ? from_more[2 * H + i] : 0) + gates[i] * u);
        new_h[i] = u;
        candidate[i] = n;
        out[i] = n + gates[H + i] * (h[i] - n);
    }
}

// to_x (3 H): gradient of the products with x, of which those of both gates are also those of the products with h;
// to_new (H): gradient of the candidate's product with h; to_old (H): what reaches the old state past the products; it
// may be the same array as `grad`, the gradient of the new state.
INLINE void gru_row_backward(int64_t H, const REAL *grad, const REAL *restrict h, const REAL *restrict gates,
                             const REAL *restrict candidate, const REAL *restrict new_h, REAL *restrict to_x,
                             REAL *restrict to_new, REAL *to_old) {
    SIMD_LOOP
    for (int64_t i = 0; i < H; i++) {
        const REAL reset = gates[i], keep = gates[H + i], n = candidate[i], g = grad[i];
        const REAL kept = g * keep, to_candidate = (g - kept) * (1 - n * n);
        to_x[i] = to_candidate * new_h[i] * reset * (1 - reset);
        to_x[H + i] = g * (h[i] - n) * keep * (1 - keep);
        to_x[2 * H + i] = to_candidate;
        to_new[i] = to_candidate * reset;
        to_old[i] = kept;
    }
}

#endif
