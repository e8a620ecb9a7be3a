// Arguments of the attention of all experts to all, and products of small matrices.
//
// B episode, E expert, H head, D key, V value; C = H (2 D + V): queries, keys and values of all heads.
#ifndef BADGER_ALL_PAIRS_H
#define BADGER_ALL_PAIRS_H

#include <math.h>

#include "real.h"

#define MAX_SIZE 64  // of E, D and V: working memory is on the stack
#define LANES (32 / (int64_t)sizeof(REAL))

typedef REAL Lanes __attribute__((vector_size(32), aligned(sizeof(REAL)), may_alias));

// The fields of `comms.attention_step.AllPairs`, in this order.
struct AllPairs {
    int64_t batch, experts, heads, key_size, value_size, edges;
    int64_t index_step, log_weight_step;  // from an episode to the next; 0: the same for all
    double scale;                         // of the scores
    const int64_t *index;                 // (B, edges): sender * E + receiver
    const REAL *log_weight;               // (B, E senders, E receivers)
    const REAL *projected;                // (B, E, C)
    REAL *inbox;                          // (B, E, H V)
    REAL *weights;                        // (B, H, E receivers, E senders)
    REAL *edge_weights;                   // (B, edges): the mean over heads
    const REAL *grad_inbox, *grad_edge_weights;  // the latter may be NULL
    REAL *grad_projected;
};

INLINE int64_t padded(int64_t size) { return (size + LANES - 1) / LANES * LANES; }

// to (columns, rows) from (rows, columns); to_step and from_step numbers from a row to the next.
INLINE void transpose(int64_t rows, int64_t columns, const REAL *restrict from, int64_t from_step, REAL *restrict to,
                      int64_t to_step) {
    for (int64_t c = 0; c < columns; c++)
        for (int64_t r = 0; r < rows; r++) to[c * to_step + r] = from[r * from_step + c];
}

// c (rows, columns) = a (rows, depth) b (depth, columns): a has any steps, b and c have b_step and c_step from row to row.
INLINE void product(int64_t rows, int64_t depth, int64_t columns, const REAL *a, int64_t a_row, int64_t a_column,
                    const REAL *b, int64_t b_step, REAL *c, int64_t c_step) {
    int64_t j = 0;
    for (; j + LANES <= columns; j += LANES) {
        int64_t i = 0;
        for (; i + 4 <= rows; i += 4) {  // four rows at a time, so that each part of b is read once for all of them
            const REAL *from = a + i * a_row, *part = b + j;
            Lanes sum0 = {0}, sum1 = {0}, sum2 = {0}, sum3 = {0};
            for (int64_t k = 0; k < depth; k++, from += a_column, part += b_step) {
                const Lanes numbers = *(const Lanes *)part;
                sum0 += from[0] * numbers;
                sum1 += from[a_row] * numbers;
                sum2 += from[2 * a_row] * numbers;
                sum3 += from[3 * a_row] * numbers;
            }
            *(Lanes *)(c + i * c_step + j) = sum0;
            *(Lanes *)(c + (i + 1) * c_step + j) = sum1;
            *(Lanes *)(c + (i + 2) * c_step + j) = sum2;
            *(Lanes *)(c + (i + 3) * c_step + j) = sum3;
        }
        for (; i < rows; i++) {
            Lanes sum = {0};
            for (int64_t k = 0; k < depth; k++) sum += a[i * a_row + k * a_column] * *(const Lanes *)(b + k * b_step + j);
            *(Lanes *)(c + i * c_step + j) = sum;
        }
    }
    for (; j < columns; j++)
        for (int64_t i = 0; i < rows; i++) {
            REAL sum = 0;
            for (int64_t k = 0; k < depth; k++) sum += a[i * a_row + k * a_column] * b[k * b_step + j];
            c[i * c_step + j] = sum;
        }
}

#endif
