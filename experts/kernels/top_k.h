// Similarities of a query and rows, and the search for the highest of them.
#ifndef BADGER_TOP_K_H
#define BADGER_TOP_K_H

#include "real.h"

#define SEARCH_BLOCK 16

INLINE REAL similarity(const REAL *restrict query, const REAL *restrict key, int64_t size, int distance) {
    REAL sum = 0;
    if (distance) {
        SUM_LOOP(sum)
        for (int64_t i = 0; i < size; i++) sum -= (query[i] - key[i]) * (query[i] - key[i]);
    } else {
        SUM_LOOP(sum)
        for (int64_t i = 0; i < size; i++) sum += query[i] * key[i];
    }
    return sum;
}

INLINE void similarities_of_size(const REAL *query, const REAL *keys, int64_t rows, int64_t size, int distance, REAL *out) {
    for (int64_t r = 0; r < rows; r++) out[r] = similarity(query, keys + r * size, size, distance);
}

// With usual sizes as constants, so that the inner loop is unrolled.
INLINE void similarities(const REAL *query, const REAL *keys, int64_t rows, int64_t size, int64_t distance, REAL *out) {
    if (distance) similarities_of_size(query, keys, rows, size, 1, out);
    else if (size == 16) similarities_of_size(query, keys, rows, 16, 0, out);
    else if (size == 32) similarities_of_size(query, keys, rows, 32, 0, out);
    else similarities_of_size(query, keys, rows, size, 0, out);
}

// Index of the lowest score; NaN counts as the highest, as in torch.topk, so that it is read and not hidden.
INLINE int64_t lowest_of(const REAL *scores, int64_t size) {
    int64_t lowest = 0;
    for (int64_t j = 1; j < size; j++)
        if (scores[j] == scores[j] && !(scores[j] >= scores[lowest])) lowest = j;
    return lowest;
}

// The `top_k` highest scores and their indices, in no order; all of them in their order if there are not more.
INLINE int64_t highest(const REAL *restrict scores, int64_t rows, int64_t top_k, REAL *restrict best, int64_t *restrict index) {
    const int64_t count = rows < top_k ? rows : top_k;
    for (int64_t j = 0; j < count; j++) {
        best[j] = scores[j];
        index[j] = j;
    }
    if (rows <= top_k) return count;
    int64_t lowest = lowest_of(best, count), r = count;
    while (r < rows) {
        const REAL low = best[lowest];
        if (low != low) break;  // all are NaN
        const int64_t end = r + SEARCH_BLOCK < rows ? r + SEARCH_BLOCK : rows;
        if (end - r == SEARCH_BLOCK) {
            int higher = 0;
            for (int64_t i = 0; i < SEARCH_BLOCK; i++) higher |= !(scores[r + i] <= low);
            if (!higher) {
                r = end;
                continue;
            }
        }
        for (; r < end; r++) {
            if (scores[r] <= best[lowest]) continue;
            best[lowest] = scores[r];
            index[lowest] = r;
            lowest = lowest_of(best, count);
            if (best[lowest] != best[lowest]) break;
        }
    }
    return count;
}

#endif
