// The functions of elementary.h for whole arrays: a test compares them with those of torch.
#include "elementary.h"

KERNEL(exponential_of, (const REAL *x, REAL *out, int64_t size), (x, out, size)) {
    SIMD_LOOP
    for (int64_t i = 0; i < size; i++) out[i] = exponential(x[i]);
}

KERNEL(sigmoid_of, (const REAL *x, REAL *out, int64_t size), (x, out, size)) {
    SIMD_LOOP
    for (int64_t i = 0; i < size; i++) out[i] = sigmoid(x[i]);
}

KERNEL(tanh_of, (const REAL *x, REAL *out, int64_t size), (x, out, size)) {
    SIMD_LOOP
    for (int64_t i = 0; i < size; i++) out[i] = hyperbolic_tangent(x[i]);
}
