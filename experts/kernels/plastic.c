// Backward pass of plastic steps from their recorded outputs; the equations are those of
// experts/fast_weights/recorded_traces.py. S networks, H neurons; matrices are (H, H), row i of the presynaptic neuron i.
#include "real.h"

#define HEBB 1  // clamp(trace + x delta, -1, 1); else Oja's rule, trace keep + x delta

INLINE REAL clamp_one(REAL value) { return value < -1 ? -1 : value > 1 ? 1 : value; }  // NaN stays NaN

// The vectors delta = rate y and keep = 1 - delta y of a step; keep is 1 in Hebb's rule. rates: 1 or H numbers.
INLINE void step_vectors(long size, long rule, const REAL *y, const REAL *rate, long rates, REAL *restrict delta,
                         REAL *restrict keep) {
    SIMD_LOOP
    for (long j = 0; j < size; j++) {
        delta[j] = (rates == 1 ? rate[0] : rate[j]) * y[j];
        keep[j] = rule == HEBB ? 1 : 1 - delta[j] * y[j];
    }
}

INLINE void update_trace(long size, long rule, const REAL *trace, const REAL *x, const REAL *restrict delta,
                         const REAL *restrict keep, REAL *updated) {
    for (long i = 0; i < size; i++) {
        const REAL *row = trace + i * size;
        REAL *target = updated + i * size, x_i = x[i];
        if (rule == HEBB) {
            SIMD_LOOP
            for (long j = 0; j < size; j++) target[j] = clamp_one(row[j] + x_i * delta[j]);
        } else {
            SIMD_LOOP
            for (long j = 0; j < size; j++) target[j] = row[j] * keep[j] + x_i * delta[j];
        }
    }
}

// Backward through row i of the update, into the sums over i: by_delta of grad x, by_keep of grad trace.
INLINE void row_of_update(long size, long rule, REAL *restrict grad, const REAL *restrict trace, REAL x_i,
                          const REAL *restrict delta, REAL *restrict by_delta, REAL *restrict by_keep) {
    if (rule == HEBB) {
        SIMD_LOOP
        for (long j = 0; j < size; j++) {
            REAL sum = trace[j] + x_i * delta[j];
            grad[j] *= (REAL)(sum >= -1 && sum <= 1);  // zero where the sum was clamped
            by_delta[j] += grad[j] * x_i;
        }
    } else {
        SIMD_LOOP
        for (long j = 0; j < size; j++) {
            by_delta[j] += grad[j] * x_i;
            by_keep[j] += grad[j] * trace[j];
        }
    }
}

// Backward through row i of the read and of the update: the gradient of x_i; the gradient of the trace becomes that of
// the trace before the step.
INLINE REAL row_of_read(long size, REAL *restrict grad, const REAL *restrict trace, REAL x_i, const REAL *restrict w,
                        const REAL *restrict alpha, const REAL *restrict pre, const REAL *restrict delta,
                        const REAL *restrict keep, REAL *restrict grad_alpha) {
    REAL sum = 0;
    SUM_LOOP(sum)
    for (long j = 0; j < size; j++) {
        REAL through = trace[j] * pre[j];
        sum += grad[j] * delta[j] + alpha[j] * through + w[j] * pre[j];
        grad_alpha[j] += x_i * through;
        grad[j] = grad[j] * keep[j] + (x_i * pre[j]) * alpha[j];
    }
    return sum;
}

// sent, received, grad, slope, grad_pre: (T, S, H); rate, grad_rate: (T, S, rates); reset: (T, S) or NULL; trace: of all
// networks before the first step; slope and direction: NULL where the rate does not depend on h. grad_alpha is added to.
// work: ((T - 1) / chunk + 1 + chunk + 1) matrices and 7 vectors.
KERNEL(plastic_backward,
       (long steps, long networks, long size, long chunk, long rule, long rates, const REAL *sent, const REAL *received,
        const REAL *rate, const REAL *slope, const REAL *direction, const uint8_t *reset, const REAL *trace,
        const REAL *grad, const REAL *w, const REAL *alpha, REAL *grad_pre, REAL *grad_rate, REAL *grad_alpha,
        REAL *work),
       (steps, networks, size, chunk, rule, rates, sent, received, rate, slope, direction, reset, trace, grad, w, alpha,
        grad_pre, grad_rate, grad_alpha, work)) {
    const long matrix = size * size, last = (steps - 1) / chunk;
    REAL *starts = work, *traces = starts + (last + 1) * matrix, *grad_trace = traces + chunk * matrix;
    REAL *delta = grad_trace + matrix, *keep = delta + size, *grad_h = keep + size, *by_delta = grad_h + size;
    REAL *by_keep = by_delta + size, *grads = by_keep + size, *before = grads + size;
    for (long s = 0; s < networks; s++) {
        memcpy(starts, trace + s * matrix, matrix * sizeof(REAL));
        for (long c = 0; c < last; c++) {  // the trace before each chunk
            REAL *target = starts + (c + 1) * matrix;
            for (long t = c * chunk; t < (c + 1) * chunk; t++) {
                const long row = t * networks + s;
                REAL *source = t == c * chunk ? target - matrix : target;
                if (reset && reset[row]) memset(source, 0, matrix * sizeof(REAL));
                step_vectors(size, rule, received + row * size, rate + row * rates, rates, delta, keep);
                update_trace(size, rule, source, sent + row * size, delta, keep, target);
            }
        }
        memset(grad_trace, 0, matrix * sizeof(REAL));
        memset(grad_h, 0, size * sizeof(REAL));
        for (long c = last; c >= 0; c--) {
            const long start = c * chunk, end = start + chunk < steps ? start + chunk : steps;
            memcpy(traces, starts + c * matrix, matrix * sizeof(REAL));
            if (reset && reset[start * networks + s]) memset(traces, 0, matrix * sizeof(REAL));
            for (long t = start; t < end - 1; t++) {  // the trace before each step of the chunk
                const long row = t * networks + s;
                REAL *target = traces + (t - start + 1) * matrix;
                step_vectors(size, rule, received + row * size, rate + row * rates, rates, delta, keep);
                update_trace(size, rule, target - matrix, sent + row * size, delta, keep, target);
                if (reset && reset[row + networks]) memset(target, 0, matrix * sizeof(REAL));
            }
            for (long t = end - 1; t >= start; t--) {
                const long row = t * networks + s;
                const REAL *x = sent + row * size, *y = received + row * size, *before_step = traces + (t - start) * matrix;
                const REAL *rate_of_step = rate + row * rates;
                REAL *pre = grad_pre + row * size;
                step_vectors(size, rule, y, rate_of_step, rates, delta, keep);
                memset(by_delta, 0, size * sizeof(REAL));
                memset(by_keep, 0, size * sizeof(REAL));
                for (long i = 0; i < size; i++)
                    row_of_update(size, rule, grad_trace + i * size, before_step + i * size, x[i], delta, by_delta,
                                  by_keep);
                REAL of_rate = 0, of_slope = 0;
                SUM_LOOP(of_rate)
                for (long j = 0; j < size; j++) {
                    grads[j] = y[j] * (by_delta[j] - y[j] * by_keep[j]);
                    of_rate += grads[j];
                }
                if (rates == 1)
                    grad_rate[row] = of_rate;
                else
                    memcpy(grad_rate + row * size, grads, size * sizeof(REAL));
                if (slope) {
                    const REAL *slope_of_step = slope + row * size;
                    SUM_LOOP(of_slope)
                    for (long j = 0; j < size; j++) of_slope += grads[j] * slope_of_step[j];
                }
                SIMD_LOOP
                for (long j = 0; j < size; j++) {
                    REAL learned = rates == 1 ? rate_of_step[0] : rate_of_step[j];
                    REAL total = learned * (by_delta[j] - 2 * y[j] * by_keep[j]) + grad[row * size + j] + grad_h[j];
                    if (slope) total += of_slope * direction[j];
                    pre[j] = total * (1 - y[j] * y[j]);
                }
                for (long i = 0; i < size; i++)
                    before[i] = row_of_read(size, grad_trace + i * size, before_step + i * size, x[i], w + i * size,
                                            alpha + i * size, pre, delta, keep, grad_alpha + i * size);
                memcpy(grad_h, before, size * sizeof(REAL));
                if (reset && reset[row]) {
                    memset(grad_trace, 0, matrix * sizeof(REAL));
                    memset(grad_h, 0, size * sizeof(REAL));
                }
            }
        }
    }
}
