// The gates of a GRU that is the controller of an episodic memory.
#include "episodic_step.h"
#include "gru.h"

KERNEL(episodic_gru, (const struct EpisodicStep *s, int64_t t), (s, t)) {
    const int64_t H = s->hidden, P = 2 * s->key_size + 3 * H, rows = s->stores * s->members;
    const REAL *before = hidden_before(s, t);
    for (int64_t b = 0; b < rows; b++) {
        const int64_t at = t * rows + b;
        gru_row(H, s->x_products + at * P + P - 3 * H, s->read_products + b * 3 * H, s->h_products + b * P + P - 3 * H,
                s->bias_h, before + b * H, s->after + at * H, s->gates + at * 2 * H, s->candidate + at * H,
                s->new_h + at * H);
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
        if (s->grad_after) {
            const REAL *restrict grad = s->grad_after + at * H;
            for (int64_t i = 0; i < H; i++) carry[i] += grad[i];
        }
        if (s->stores_h && s->passes_gradient && (!last || s->grad_pending_value)) {
            const REAL *restrict grad = V - H + (last ? s->grad_pending_value + b * V
                : s->grad_values + ((b / N) * s->capacity + written + b % N) * V);
            for (int64_t i = 0; i < H; i++) carry[i] += grad[i];
        }
        REAL *to_x = s->grad_x_products + at * P + 2 * K, *to_h = s->grad_h_products + at * P + 2 * K;
        gru_row_backward(H, carry, before + b * H, s->gates + at * 2 * H, s->candidate + at * H, s->new_h + at * H, to_x,
                         to_h + 2 * H, carry);
        memcpy(to_h, to_x, 2 * H * sizeof(REAL));
    }
}
