// A step of an episodic memory: writes the rows of the step before, and reads the rows most similar to the query.
#include <float.h>

#include "elementary.h"
#include "episodic_step.h"
#include "top_k.h"

#define QUERIES 8         // whose rows are fetched into the cache before they are summed
#define EPSILON ((REAL)1e-3)  // DISTANCE_EPS of experts.episodic.top_k_read

#ifdef BADGER_DOUBLE
#define LOWEST -DBL_MAX
#else
#define LOWEST -FLT_MAX
#endif

INLINE void prefetch(const REAL *row, int64_t size) {
    for (int64_t i = 0; i < size; i += 64 / (int64_t)sizeof(REAL)) __builtin_prefetch(row + i);
}

// The rows of the step before: key from its products, value [x, h]. The first step writes the pending rows.
INLINE void write_rows(const struct EpisodicStep *s, int64_t t, int64_t store) {
    const int64_t K = s->key_size, V = s->value_size, N = s->members, D = s->inputs, H = s->hidden, P = 2 * K + 3 * H;
    const int64_t write_start = s->spans[3 * t], count = s->spans[3 * t + 1] - write_start;
    REAL *keys = s->keys + (store * s->capacity + write_start) * K;
    REAL *values = s->values + (store * s->capacity + write_start) * V;
    if (t == 0) {
        memcpy(keys, s->pending_key + store * count * K, count * K * sizeof(REAL));
        memcpy(values, s->pending_value + store * count * V, count * V * sizeof(REAL));
        return;
    }
    for (int64_t n = 0; n < N; n++) {
        const int64_t b = store * N + n, at = (t - 1) * s->stores * N + b;
        const REAL *restrict from_x = s->x_products + at * P, *restrict from_h = s->h_products + b * P;
        REAL *restrict key = keys + n * K, *value = values + n * V;
        for (int64_t i = 0; i < K; i++) key[i] = from_x[i] + from_h[i];
        if (s->stores_x) memcpy(value, s->x + at * D, D * sizeof(REAL));
        if (s->stores_h) memcpy(value + V - H, s->after + at * H, H * sizeof(REAL));
    }
}

// Weights from the scores of `count` rows.
INLINE void weigh(REAL *restrict w, int64_t count, int64_t weighting) {
    if (weighting == SIMILARITY) return;
    REAL total = 0, highest_score = count ? w[0] : 0;
    if (weighting == SOFTMAX) {
        for (int64_t j = 1; j < count; j++) highest_score = w[j] > highest_score ? w[j] : highest_score;
        for (int64_t j = 0; j < count; j++) total += w[j] = exponential(w[j] - highest_score);
    } else {
        for (int64_t j = 0; j < count; j++) total += w[j] = 1 / (EPSILON - w[j]);
    }
    for (int64_t j = 0; j < count; j++) w[j] /= total;
}

// Query, selected rows and weights of one member; the selected values are fetched into the cache.
INLINE void search(const struct EpisodicStep *s, int64_t t, int64_t b) {
    const int64_t K = s->key_size, V = s->value_size, P = 2 * K + 3 * s->hidden, k = s->top_k;
    const int64_t store = b / s->members, at = t * s->stores * s->members + b, window_start = s->spans[3 * t + 2];
    const int64_t end = s->spans[3 * t + 1], first_valid = s->starts ? s->starts[t * s->stores + store] : 0;
    const int64_t first = first_valid > window_start ? first_valid : window_start, rows = end > first ? end - first : 0;
    const REAL *restrict from_x = s->x_products + at * P + K, *restrict from_h = s->h_products + b * P + K;
    REAL *restrict query = s->query + at * K, *w = s->weights + at * k;
    int64_t *index = s->index + at * k;
    const REAL scale = (REAL)s->scale;
    for (int64_t i = 0; i < K; i++) query[i] = (from_x[i] + from_h[i]) * scale;
    similarities(query, s->keys + (store * s->capacity + first) * K, rows, K, s->distance, s->scratch);
    const uint8_t *valid = s->valid ? s->valid + store * s->capacity + first : 0;
    int64_t found = 0, candidates;
    if (valid)
        for (int64_t r = 0; r < rows; r++) s->scratch[r] = valid[r] ? s->scratch[r] : LOWEST;
    candidates = highest(s->scratch, rows, k, w, index);
    for (int64_t j = 0; j < candidates; j++) {
        if (valid && !valid[index[j]]) continue;
        w[found] = w[j];
        index[found++] = index[j] + (first - window_start);
    }
    weigh(w, found, s->weighting);
    for (int64_t j = 0; j < found; j++) prefetch(s->values + (store * s->capacity + window_start + index[j]) * V, V);
    for (int64_t j = found; j < k; j++) {
        w[j] = 0;
        index[j] = -1;
    }
}

// The weighted sum of the selected values of one member.
INLINE void sum_values(const struct EpisodicStep *s, int64_t t, int64_t b) {
    const int64_t V = s->value_size, k = s->top_k, at = t * s->stores * s->members + b;
    const REAL *values = s->values + ((b / s->members) * s->capacity + s->spans[3 * t + 2]) * V, *w = s->weights + at * k;
    const int64_t *index = s->index + at * k;
    REAL *restrict out = s->read + at * V;
    memset(out, 0, V * sizeof(REAL));
    for (int64_t j = 0; j < k && index[j] >= 0; j++) {
        const REAL *restrict value = values + index[j] * V;
        const REAL weight = w[j];
        for (int64_t i = 0; i < V; i++) out[i] += weight * value[i];
    }
}

KERNEL(episodic_read, (const struct EpisodicStep *s, int64_t t), (s, t)) {
    const int64_t members = s->stores * s->members;
    for (int64_t store = 0; store < s->stores; store++) write_rows(s, t, store);
    for (int64_t block = 0; block < members; block += QUERIES) {
        const int64_t end = block + QUERIES < members ? block + QUERIES : members;
        for (int64_t b = block; b < end; b++) search(s, t, b);
        for (int64_t b = block; b < end; b++) sum_values(s, t, b);
    }
}

INLINE void prefetch_gradients(const struct EpisodicStep *s, int64_t t, int64_t b) {
    const int64_t K = s->key_size, V = s->value_size, first = (b / s->members) * s->capacity + s->spans[3 * t + 2];
    const int64_t *index = s->index + (t * s->stores * s->members + b) * s->top_k;
    for (int64_t j = 0; j < s->top_k && index[j] >= 0; j++) {
        const int64_t row = first + index[j];
        prefetch(s->values + row * V, V);
        prefetch(s->grad_values + row * V, V);
        prefetch(s->keys + row * K, K);
        prefetch(s->grad_keys + row * K, K);
    }
}

// Gradients of keys, values and query of one member, from that of its read vector.
INLINE void read_backward(const struct EpisodicStep *s, int64_t t, int64_t b) {
    const int64_t K = s->key_size, V = s->value_size, P = 2 * K + 3 * s->hidden, k = s->top_k;
    const int64_t at = t * s->stores * s->members + b, first = (b / s->members) * s->capacity + s->spans[3 * t + 2];
    const int64_t *index = s->index + at * k;
    const REAL *restrict grad = s->grad_read + b * V, *restrict query = s->query + at * K, *w = s->weights + at * k;
    REAL *restrict to_query = s->grad_x_products + at * P + K, *grad_scores = s->scratch, weighted = 0;
    int64_t found = 0;
    for (; found < k && index[found] >= 0; found++) {
        const int64_t row = (first + index[found]) * V;
        const REAL *restrict value = s->values + row, weight = w[found];
        REAL *restrict to_value = s->grad_values + row, dot = 0;
        SUM_LOOP(dot)
        for (int64_t i = 0; i < V; i++) {
            dot += value[i] * grad[i];
            to_value[i] += weight * grad[i];
        }
        grad_scores[found] = dot;
        weighted += weight * dot;
    }
    memset(to_query, 0, K * sizeof(REAL));
    for (int64_t j = 0; j < found; j++) {
        const int64_t row = (first + index[j]) * K;
        const REAL *restrict key = s->keys + row;
        REAL *restrict to_key = s->grad_keys + row, to_score = grad_scores[j];
        if (s->weighting != SIMILARITY) to_score = w[j] * (to_score - weighted);
        if (s->weighting == INVERSE_DISTANCE) to_score /= EPSILON - similarity(query, key, K, 1);
        if (s->distance) {
            to_score *= 2;
            for (int64_t i = 0; i < K; i++) {
                const REAL change = to_score * (query[i] - key[i]);
                to_key[i] += change;
                to_query[i] -= change;
            }
        } else {
            for (int64_t i = 0; i < K; i++) {
                to_query[i] += to_score * key[i];
                to_key[i] += to_score * query[i];
            }
        }
    }
    REAL *restrict copy = s->grad_h_products + at * P + K;
    const REAL scale = (REAL)s->scale;
    for (int64_t i = 0; i < K; i++) copy[i] = to_query[i] *= scale;
}

// Gradients of a read, and then those of the keys that the step wrote: products of the step before (t > 0).
KERNEL(episodic_read_backward, (const struct EpisodicStep *s, int64_t t), (s, t)) {
    const int64_t K = s->key_size, N = s->members, P = 2 * K + 3 * s->hidden, members = s->stores * N;
    for (int64_t b = 0; b < 2 && b < members; b++) prefetch_gradients(s, t, b);
    for (int64_t b = 0; b < members; b++) {
        if (b + 2 < members) prefetch_gradients(s, t, b + 2);
        read_backward(s, t, b);
    }
    if (t == 0) return;
    for (int64_t b = 0; b < members; b++) {
        const REAL *key = s->grad_keys + ((b / N) * s->capacity + s->spans[3 * t] + b % N) * K;
        memcpy(s->grad_x_products + ((t - 1) * members + b) * P, key, K * sizeof(REAL));
        memcpy(s->grad_h_products + (t * members + b) * P, key, K * sizeof(REAL));
    }
}
