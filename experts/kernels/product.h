// Products of small matrices, in vectors of 32 bytes.
#ifndef BADGER_PRODUCT_H
#define BADGER_PRODUCT_H

#include "real.h"

#define LANES (32 / (int64_t)sizeof(REAL))

typedef REAL Lanes __attribute__((vector_size(32), aligned(sizeof(REAL)), may_alias));

// Columns from `first` on of `rows` rows, one number at a time.
INLINE void last_columns(int64_t rows, int64_t depth, int64_t first, int64_t columns, const REAL *a, int64_t a_row,
                         int64_t a_column, const REAL *b, int64_t b_step, REAL *c, int64_t c_step) {
    for (int64_t j = first; j < columns; j++)
        for (int64_t i = 0; i < rows; i++) {
            REAL sum = 0;
            for (int64_t k = 0; k < depth; k++) sum += a[i * a_row + k * a_column] * b[k * b_step + j];
            c[i * c_step + j] = sum;
        }
}

// Four rows of `product`: each part of b is read once for all of them.
INLINE void product_of_four_rows(int64_t depth, int64_t columns, const REAL *a, int64_t a_row, int64_t a_column,
                                 const REAL *b, int64_t b_step, REAL *c, int64_t c_step) {
    int64_t j = 0;
    for (; j + LANES <= columns; j += LANES) {
        const REAL *from = a, *part = b + j;
        Lanes sum0 = {0}, sum1 = {0}, sum2 = {0}, sum3 = {0};
        for (int64_t k = 0; k < depth; k++, from += a_column, part += b_step) {
            const Lanes numbers = *(const Lanes *)part;
            sum0 += from[0] * numbers;
            sum1 += from[a_row] * numbers;
            sum2 += from[2 * a_row] * numbers;
            sum3 += from[3 * a_row] * numbers;
        }
        *(Lanes *)(c + j) = sum0;
        *(Lanes *)(c + c_step + j) = sum1;
        *(Lanes *)(c + 2 * c_step + j) = sum2;
        *(Lanes *)(c + 3 * c_step + j) = sum3;
    }
    last_columns(4, depth, j, columns, a, a_row, a_column, b, b_step, c, c_step);
}

// One row of `product`: four vectors at a time, as a single sum would wait for each of its additions.
INLINE void product_of_one_row(int64_t depth, int64_t columns, const REAL *a, int64_t a_column, const REAL *b,
                               int64_t b_step, REAL *c) {
    int64_t j = 0;
    for (; j + 4 * LANES <= columns; j += 4 * LANES) {
        const REAL *from = a, *part = b + j;
        Lanes sum0 = {0}, sum1 = {0}, sum2 = {0}, sum3 = {0};
        for (int64_t k = 0; k < depth; k++, from += a_column, part += b_step) {
            const REAL factor = from[0];
            sum0 += factor * *(const Lanes *)part;
            sum1 += factor * *(const Lanes *)(part + LANES);
            sum2 += factor * *(const Lanes *)(part + 2 * LANES);
            sum3 += factor * *(const Lanes *)(part + 3 * LANES);
        }
        *(Lanes *)(c + j) = sum0;
        *(Lanes *)(c + j + LANES) = sum1;
        *(Lanes *)(c + j + 2 * LANES) = sum2;
        *(Lanes *)(c + j + 3 * LANES) = sum3;
    }
    for (; j + LANES <= columns; j += LANES) {
        Lanes sum = {0};
        for (int64_t k = 0; k < depth; k++) sum += a[k * a_column] * *(const Lanes *)(b + k * b_step + j);
        *(Lanes *)(c + j) = sum;
    }
    last_columns(1, depth, j, columns, a, 0, a_column, b, b_step, c, 0);
}

// c (rows, columns) = a b: a (rows, depth) has any steps, b (depth, columns) and c have b_step and c_step from row to row.
INLINE void product(int64_t rows, int64_t depth, int64_t columns, const REAL *a, int64_t a_row, int64_t a_column,
                    const REAL *b, int64_t b_step, REAL *c, int64_t c_step) {
    int64_t i = 0;
    for (; i + 4 <= rows; i += 4)
        product_of_four_rows(depth, columns, a + i * a_row, a_row, a_column, b, b_step, c + i * c_step, c_step);
    for (; i < rows; i++) product_of_one_row(depth, columns, a + i * a_row, a_column, b, b_step, c + i * c_step);
}

#endif
