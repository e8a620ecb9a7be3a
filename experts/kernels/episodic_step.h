// Sizes and addresses of some steps of an episodic memory around a GRU, as `experts.episodic.kernel_step` passes them.
//
// T steps; S stores of C rows, N members each; D inputs, H hidden, K key, V value, k rows read; P = 2 K + 3 H. All arrays
// are contiguous, and all fields have 8 bytes.
#ifndef BADGER_EPISODIC_STEP_H
#define BADGER_EPISODIC_STEP_H

#include "real.h"

enum Weighting { SOFTMAX, SIMILARITY, INVERSE_DISTANCE };

struct EpisodicStep {
    int64_t stores, members, inputs, hidden, key_size, value_size, capacity, top_k;
    int64_t weighting, distance;   // enum Weighting; whether the similarity is the negative squared distance
    int64_t stores_x, stores_h;    // whether a row's value has x, and whether it has h
    int64_t passes_gradient;       // whether gradients of a row's value reach x and h
    double scale;                  // factor of queries
    const int64_t *spans;          // (T, 3): write_start, end and window_start
    REAL *keys, *values;           // (S, C, K), (S, C, V)
    const REAL *first_h;           // (S N, H): hidden state before the first step
    const REAL *masked_h;          // (T, S N, H): hidden states before the steps, 0 after a reset; NULL: no resets
    REAL *after;                   // (T, S N, H): hidden states after the steps
    int64_t *index;                // (T, S N, k): rows read, relative to the window; -1 for none
    REAL *weights;                 // (T, S N, k)
    REAL *query, *read;            // (T, S N, K), (T, S N, V)
    REAL *gates, *candidate, *new_h;          // (T, S N, 2 H), (T, S N, H), (T, S N, H)
    REAL *scratch;                 // as many numbers as a window has rows, or as rows are read
    // of the forward pass
    const int64_t *starts;         // (T, S): first valid row; NULL: all rows are valid
    const uint8_t *valid;          // (S, C): valid rows; NULL: all
    const REAL *x;                 // (T, S N, D)
    const REAL *x_products;        // (T, S N, P): products of x, with biases: key, query, gates
    const REAL *h_products;        // (S N, P): products of the hidden state before the step, without biases
    const REAL *read_products;     // (S N, 3 H)
    const REAL *bias_h;            // (3 H)
    const REAL *pending_key, *pending_value;  // (S, n, K), (S, n, V): rows that the first step writes
    // of the backward pass
    const REAL *grad_after;        // (T, S N, H) or NULL
    const REAL *grad_pending_value;           // (S N, V): of the rows of the last step; or NULL
    const REAL *grad_read;         // (S N, V)
    REAL *grad_keys, *grad_values; // (S, C, K), (S, C, V)
    REAL *carry;                   // (S N, H): gradient of the hidden state
    REAL *grad_x_products, *grad_h_products;  // (T, S N, P)
};

// The hidden state before a step, (S N, H).
INLINE const REAL *hidden_before(const struct EpisodicStep *s, int64_t t) {
    const int64_t size = s->stores * s->members * s->hidden;
    if (s->masked_h) return s->masked_h + t * size;
    return t ? s->after + (t - 1) * size : s->first_h;
}

#endif
