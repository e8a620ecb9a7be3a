// Arguments of the attention of all experts to all.
//
// B episode, E expert, H head, D key, V value; C = H (2 D + V): queries, keys and values of all heads.
#ifndef BADGER_ALL_PAIRS_H
#define BADGER_ALL_PAIRS_H

#include <math.h>

#include "product.h"

#define MAX_SIZE 64  // of E, D and V: working memory is on the stack

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

#endif
