// Product of a vector with alpha * (matrix * keep + left^T right), which is not made; see
// experts/fast_weights/low_rank_sum.py. The matrices are (I, J), keep is (J), left (rank, I), right (rank, J).
#include "real.h"

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

#define CASE(r)                                                                               \
    case r:                                                                                   \
        read_rows(rows, size, r, matrix, keep, left, right, alpha, x, y, 0);                  \
        break;

// For S stores; x: (S, I), y: (S, J). dense: NULL, or (S, I, J), for which the rank must be 8.
KERNEL(low_rank_matmul,
       (long stores, long rows, long size, long rank, const REAL *matrix, const REAL *keep, const REAL *left,
        const REAL *right, const REAL *alpha, const REAL *x, REAL *y, REAL *dense),
       (stores, rows, size, rank, matrix, keep, left, right, alpha, x, y, dense)) {
    memset(y, 0, stores * size * sizeof(REAL));
    for (long s = 0; s < stores; s++) {
        if (dense) {
            read_rows(rows, size, LARGEST_RANK, matrix, keep, left, right, alpha, x, y, dense);
            dense += rows * size;
        } else
            switch (rank) {
                CASE(0) CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
            }
        matrix += rows * size, keep += size, left += rank * rows, right += rank * size, x += rows, y += size;
    }
}
