// Attention of all experts to all, for up to MAX_SIZE experts: `comms.attention_step`.
#include "all_pairs.h"
#include "elementary.h"

// The scores of each receiver become weights, which sum to 1: a softmax of score * scale + log_weight. padded: numbers in a row.
INLINE void softmax_rows(int64_t rows, int64_t padded, REAL scale, const REAL *restrict log_weight, REAL *restrict scores) {
    for (int64_t r = 0; r < rows; r++) {
        REAL *restrict row = scores + r * padded;
        const REAL *restrict added = log_weight + r * padded;
        REAL peaks[LANES], peak = -INFINITY;
        for (int64_t l = 0; l < LANES; l++) peaks[l] = -INFINITY;
        for (int64_t s = 0; s < padded; s += LANES) {
            SIMD_LOOP
            for (int64_t l = 0; l < LANES; l++) {  // clang does not vectorize a largest number over the whole row
                const REAL score = row[s + l] * scale + added[s + l];
                row[s + l] = score;
                peaks[l] = score > peaks[l] ? score : peaks[l];
            }
        }
        for (int64_t l = 0; l < LANES; l++) peak = peaks[l] > peak ? peaks[l] : peak;
        SIMD_LOOP
        for (int64_t s = 0; s < padded; s++) row[s] -= peak;
    }
    SIMD_LOOP  // over all rows, as the rest of a short loop is not vectorized
    for (int64_t i = 0; i < rows * padded; i++)
        scores[i] = scores[i] < MIN_EXP ? 0 : exponential(scores[i]);  // 0, as products with denormal numbers are slow
    for (int64_t r = 0; r < rows; r++) {
        REAL *restrict row = scores + r * padded;
        REAL sum = 0;
        SUM_LOOP(sum)
        for (int64_t s = 0; s < padded; s++) sum += row[s];
        const REAL scaled = 1 / sum;
        SIMD_LOOP
        for (int64_t s = 0; s < padded; s++) row[s] *= scaled;
    }
}

// The gradient of scores from that of weights, in its place.
INLINE void softmax_rows_backward(int64_t rows, int64_t padded, REAL scale, const REAL *restrict weights, REAL *restrict grads) {
    for (int64_t r = 0; r < rows; r++) {
        REAL *restrict grad = grads + r * padded;
        const REAL *restrict weight = weights + r * padded;
        REAL sum = 0;
        SUM_LOOP(sum)
        for (int64_t s = 0; s < padded; s++) sum += grad[s] * weight[s];
        SIMD_LOOP
        for (int64_t s = 0; s < padded; s++) grad[s] = weight[s] * (grad[s] - sum) * scale;
    }
}

KERNEL(all_pairs, (const struct AllPairs *a), (a)) {
    const int64_t E = a->experts, H = a->heads, D = a->key_size, V = a->value_size, C = H * (2 * D + V), P = padded(E);
    REAL log_weight[MAX_SIZE * MAX_SIZE], keys[MAX_SIZE * MAX_SIZE], weights[MAX_SIZE * MAX_SIZE], mean[MAX_SIZE * MAX_SIZE];
    for (int64_t b = 0; b < a->batch; b++) {
        const REAL *rows = a->projected + b * E * C;
        if (!b || a->log_weight_step) {
            for (int64_t i = 0; i < E * P; i++) log_weight[i] = -INFINITY;
            transpose(E, E, a->log_weight + b * a->log_weight_step, E, log_weight, P);
        }
        memset(mean, 0, sizeof(REAL) * E * P);
        for (int64_t h = 0; h < H; h++) {
            memset(keys, 0, sizeof(REAL) * D * P);
            transpose(E, D, rows + (H + h) * D, C, keys, P);
            product(E, D, P, rows + h * D, C, 1, keys, P, weights, P);
            softmax_rows(E, P, (REAL)a->scale, log_weight, weights);
            product(E, E, V, weights, P, 1, rows + 2 * H * D + h * V, C, a->inbox + b * E * H * V + h * V, H * V);
            SIMD_LOOP
            for (int64_t i = 0; i < E * P; i++) mean[i] += weights[i];
            for (int64_t r = 0; r < E; r++) memcpy(a->weights + ((b * H + h) * E + r) * E, weights + r * P, sizeof(REAL) * E);
        }
        transpose(E, E, mean, P, weights, E);
        for (int64_t k = 0; k < a->edges; k++) a->edge_weights[b * a->edges + k] = weights[a->index[b * a->index_step + k]] / H;
    }
}

KERNEL(all_pairs_backward, (const struct AllPairs *a), (a)) {
    const int64_t E = a->experts, H = a->heads, D = a->key_size, V = a->value_size, C = H * (2 * D + V), P = padded(E);
    REAL values[MAX_SIZE * MAX_SIZE], weights[MAX_SIZE * MAX_SIZE], scores[MAX_SIZE * MAX_SIZE], to_mean[MAX_SIZE * MAX_SIZE];
    memset(weights, 0, sizeof(weights));
    for (int64_t b = 0; b < a->batch; b++) {
        const REAL *rows = a->projected + b * E * C;
        REAL *to_rows = a->grad_projected + b * E * C;
        if (a->grad_edge_weights) {
            memset(scores, 0, sizeof(REAL) * E * E);
            for (int64_t k = 0; k < a->edges; k++)
                scores[a->index[b * a->index_step + k]] += a->grad_edge_weights[b * a->edges + k] / H;
            memset(to_mean, 0, sizeof(REAL) * E * P);
            transpose(E, E, scores, E, to_mean, P);
        }
        for (int64_t h = 0; h < H; h++) {
            const REAL *query = rows + h * D, *key = rows + (H + h) * D, *value = rows + 2 * H * D + h * V;
            const REAL *grad = a->grad_inbox + b * E * H * V + h * V;
            for (int64_t r = 0; r < E; r++) memcpy(weights + r * P, a->weights + ((b * H + h) * E + r) * E, sizeof(REAL) * E);
            memset(values, 0, sizeof(REAL) * V * P);
            transpose(E, V, value, C, values, P);
            product(E, V, P, grad, H * V, 1, values, P, scores, P);
            if (a->grad_edge_weights)
                for (int64_t i = 0; i < E * P; i++) scores[i] += to_mean[i];
            softmax_rows_backward(E, P, (REAL)a->scale, weights, scores);
            product(E, E, D, scores, P, 1, key, C, to_rows + h * D, C);
            product(E, E, D, scores, 1, P, query, C, to_rows + (H + h) * D, C);
            product(E, E, V, weights, 1, P, grad, H * V, to_rows + 2 * H * D + h * V, C);
        }
    }
}
