// The elementwise part of a GRU around an episodic memory: gates and new state from the products, and its gradient.
#include "elementary.h"
#include "episodic_step.h"

KERNEL(episodic_gru, (const struct EpisodicStep *s, int64_t t), (s, t)) {
    const int64_t H = s->hidden, P = 2 * s->key_size + 3 * H, rows = s->stores * s->members;
    const REAL *restrict bias = s->bias_h, *before = hidden_before(s, t);
    for (int64_t b = 0; b < rows; b++) {
        const int64_t at = t * rows + b;
        const REAL *restrict from_x = s->x_products + at * P + P - 3 * H;
        const REAL *restrict from_h = s->h_products + b * P + P - 3 * H;
        const REAL *restrict from_read = s->read_products + b * 3 * H, *restrict h = before + b * H;
        REAL *restrict gates = s->gates + at * 2 * H, *restrict candidate = s->candidate + at * H;
        REAL *restrict new_h = s->new_h + at * H, *restrict out = s->after + at * H;
        SIMD_LOOP
        for (int64_t i = 0; i < 2 * H; i++) gates[i] = sigmoid(from_x[i] + from_read[i] + from_h[i] + bias[i]);
        SIMD_LOOP
        for (int64_t i = 0; i < H; i++) {
            const REAL u = from_h[2 * H + i] + bias[2 * H + i];
            const REAL n = hyperbolic_tangent(from_x[2 * H + i] + from_read[2 * H + i] + gates[i] * u);
            new_h[i] = u;
            candidate[i] = n;
            out[i] = n + gates[H + i] * (h[i] - n);
        }
    }
}

// Adds the gradients of the output and of the row's value to `carry`; then writes the gradients of the products, and
// leaves in `carry` what reaches the old state past the products.
KERNEL(episodic_gru_backward, (const struct EpisodicStep *s, int64_t t, int64_t last), (s, t, last)) {
    const int64_t H = s->hidden, K = s->key_size, V = s->value_size, N = s->members, P = 2 * K + 3 * H;
    const int64_t rows = s->stores * N, written = last ? 0 : s->spans[3 * (t + 1)];
    const REAL *before = hidden_before(s, t);
    for (int64_t b = 0; b < rows; b++) {
        const int64_t at = t * rows + b;
        REAL *restrict carry = s->carry + b * H;
        const REAL *restrict gates = s->gates + at * 2 * H, *restrict candidate = s->candidate + at * H;
        const REAL *restrict new_h = s->new_h + at * H, *restrict h = before + b * H;
        REAL *restrict to_x = s->grad_x_products + at * P + 2 * K, *restrict to_h = s->grad_h_products + at * P + 2 * K;
        if (s->grad_after) {
            const REAL *restrict grad = s->grad_after + at * H;
            for (int64_t i = 0; i < H; i++) carry[i] += grad[i];
        }
        if (s->stores_h && s->passes_gradient && (!last || s->grad_pending_value)) {
            const REAL *restrict grad = V - H + (last ? s->grad_pending_value + b * V
                : s->grad_values + ((b / N) * s->capacity + written + b % N) * V);
            for (int64_t i = 0; i < H; i++) carry[i] += grad[i];
        }
        SIMD_LOOP
        for (int64_t i = 0; i < H; i++) {
            const REAL reset = gates[i], keep = gates[H + i], n = candidate[i], grad = carry[i];
            const REAL to_old = grad * keep, to_new = (grad - to_old) * (1 - n * n);
            const REAL to_reset = to_new * new_h[i] * reset * (1 - reset);
            const REAL to_keep = grad * (h[i] - n) * keep * (1 - keep);
            to_x[i] = to_h[i] = to_reset;
            to_x[H + i] = to_h[H + i] = to_keep;
            to_x[2 * H + i] = to_new;
            to_h[2 * H + i] = to_new * reset;
            carry[i] = to_old;
        }
    }
}
