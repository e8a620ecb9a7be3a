// Vectors times alpha * (matrix * keep + left^T right), which is not made; and a step of a plastic network with Oja's rule.
// See experts/fast_weights/low_rank_sum.py. The matrices are (I, J), keep is (J), left (rank, I), right (rank, J).
#include "elementary.h"

#define LARGEST_RANK 8

// y += sum_i x_i alpha_i (matrix_i keep + sum_p left_pi right_p), two rows at a time; rank is constant where inlined.
// dense: NULL, or where the matrix of the sum is written.
INLINE void read_rows(long rows, long size, const long rank, const REAL *matrix, const REAL *restrict keep,
                      const REAL *left, const REAL *restrict right, const REAL *alpha, const REAL *x, REAL *restrict y,
                      REAL *dense) {
    for (long i = 0; i < rows; i += 2) {
        const long next = i + 1 < rows ? size : 0;  // the last of an odd number of rows is read twice, and counts once
        const REAL *restrict m = matrix + i * size, *restrict a = alpha + i * size;
        const REAL x_i = x[i], x_next = next ? x[i + 1] : 0;
        REAL factors[LARGEST_RANK + 1], factors_next[LARGEST_RANK + 1];
        for (long p = 0; p < rank; p++) {
            factors[p] = left[p * rows + i];
            factors_next[p] = left[p * rows + i + (next != 0)];
        }
        REAL *out = dense ? dense + i * size : 0;
        SIMD_LOOP
        for (long j = 0; j < size; j++) {
            REAL sum = m[j] * keep[j], sum_next = m[j + next] * keep[j];
            for (long p = 0; p < rank; p++) {
                sum += factors[p] * right[p * size + j];
                sum_next += factors_next[p] * right[p * size + j];
            }
            if (dense) {
                out[j] = sum;
                out[j + next] = sum_next;
            }
            y[j] += x_i * (a[j] * sum) + x_next * (a[j + next] * sum_next);
        }
    }
}

#define CASE(r)                                                              \
    case r:                                                                  \
        read_rows(rows, size, r, matrix, keep, left, right, alpha, x, y, 0); \
        break;

// y = x (alpha * sum) of one store. dense: NULL, or where the sum is written, for which the rank must be 8. Not inlined:
// within a longer function gcc does not vectorize all ranks.
static CLONES __attribute__((noinline)) void read_store(long rows, long size, long rank, const REAL *matrix,
                                                        const REAL *keep, const REAL *left, const REAL *right,
                                                        const REAL *alpha, const REAL *x, REAL *y, REAL *dense) {
    memset(y, 0, size * sizeof(REAL));
    if (dense) {
        read_rows(rows, size, LARGEST_RANK, matrix, keep, left, right, alpha, x, y, dense);
        return;
    }
    switch (rank) { CASE(0) CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) }
}

// For S stores; x: (S, I), y: (S, J). dense: NULL, or (S, I, J).
KERNEL(low_rank_matmul,
       (long stores, long rows, long size, long rank, const REAL *matrix, const REAL *keep, const REAL *left,
        const REAL *right, const REAL *alpha, const REAL *x, REAL *y, REAL *dense),
       (stores, rows, size, rank, matrix, keep, left, right, alpha, x, y, dense)) {
    for (long s = 0; s < stores; s++) {
        read_store(rows, size, rank, matrix, keep, left, right, alpha, x, y, dense);
        matrix += rows * size, keep += size, left += rank * rows, right += rank * size, x += rows, y += size;
        if (dense) dense += rows * size;
    }
}

// The step of S plastic networks of H neurons with Oja's rule and one rate: pre: the rest of the preactivations, (S, H).
// New keep, left and right have one outer product more, or one alone where dense, (S, H, H), is not NULL.
KERNEL(oja_step,
       (long stores, long size, long rank, const REAL *matrix, const REAL *keep, const REAL *left, const REAL *right,
        const REAL *alpha, const REAL *rate, const REAL *h, const REAL *pre, REAL *restrict new_h,
        REAL *restrict new_keep, REAL *restrict new_left, REAL *restrict new_right, REAL *dense),
       (stores, size, rank, matrix, keep, left, right, alpha, rate, h, pre, new_h, new_keep, new_left, new_right,
        dense)) {
    const long kept = dense ? 0 : rank;
    for (long s = 0; s < stores; s++) {
        read_store(size, size, rank, matrix, keep, left, right, alpha, h, new_h, dense);
        memcpy(new_left, left, kept * size * sizeof(REAL));
        memcpy(new_left + kept * size, h, size * sizeof(REAL));
        REAL *restrict delta = new_right + kept * size;
        SIMD_LOOP
        for (long j = 0; j < size; j++) {
            const REAL y = hyperbolic_tangent(pre[j] + new_h[j]);
            new_h[j] = y;
            delta[j] = rate[0] * y;
        }
        for (long p = 0; p < kept; p++)
            for (long j = 0; j < size; j++)
                new_right[p * size + j] = right[p * size + j] * (1 - delta[j] * new_h[j]);
        for (long j = 0; j < size; j++) new_keep[j] = (dense ? 1 : keep[j]) * (1 - delta[j] * new_h[j]);
        matrix += size * size, keep += size, left += rank * size, right += rank * size, h += size, pre += size;
        new_h += size, new_keep += size, new_left += (kept + 1) * size, new_right += (kept + 1) * size;
        if (dense) dense += size * size;
    }
}
