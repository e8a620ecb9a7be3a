// exp, sigmoid and tanh as polynomials, which vectorize: relative error 2e-7 in float, 1e-15 in double. NaN stays NaN.
#ifndef BADGER_ELEMENTARY_H
#define BADGER_ELEMENTARY_H

#include "real.h"

#ifdef BADGER_DOUBLE
#define BITS int64_t
#define FRACTION 52
#define BIAS 1023
#define ROUND 6755399441055744.0  // 1.5 * 2^52: adding it rounds to an integer, which is then in the low bits
#define LN2_HIGH 6.93145751953125e-1
#define LN2_LOW 1.42860682030941723212e-6
#define MIN_EXP -707.0
#define MAX_EXP 709.0
#define MAX_TANH 20.0
#else
#define BITS int32_t
#define FRACTION 23
#define BIAS 127
#define ROUND 12582912.0f  // 1.5 * 2^23
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#define MIN_EXP -87.0f
#define MAX_EXP 88.0f
#define MAX_TANH 9.0f
#endif

// x limited to an interval; NaN stays NaN, as each comparison with it is false.
INLINE REAL limit(REAL x, REAL low, REAL high) {
    x = x > high ? high : x;
    return x < low ? low : x;
}

// exp(x) = scale (1 + result), where scale is a power of 2 and |result| < .42. x: limited to MIN_EXP, MAX_EXP.
INLINE REAL exp_parts(REAL x, REAL *scale) {
    union { REAL real; BITS bits; } rounded, power;
    rounded.real = x * (REAL)1.44269504088896340736 + ROUND;
    REAL n = rounded.real - ROUND, r = x - n * LN2_HIGH;
    r = r - n * LN2_LOW;
    power.bits = (BITS)(((uint64_t)rounded.bits << FRACTION) + ((uint64_t)BIAS << FRACTION));
    *scale = power.real;
#ifdef BADGER_DOUBLE
    double p = 1.0 / 6227020800.0;  // Taylor's series: the first term left out is below 1e-17
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
#else
    float p = 1.0f / 5040.0f;  // Taylor's series: the first term left out is below 6e-9
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
#endif
    return p * (r * r) + r;
}

// exp, limited to the range of normal numbers: exp(-inf) is 1e-38 in float, exp(inf) is 2e38.
INLINE REAL exponential(REAL x) {
    REAL scale, rest = exp_parts(limit(x, MIN_EXP, MAX_EXP), &scale);
    return scale * rest + scale;
}

INLINE REAL sigmoid(REAL x) { return 1 / (1 + exponential(-x)); }

// tanh(x) = y / (y + 2) with y = exp(2 x) - 1, which is exact near 0.
INLINE REAL hyperbolic_tangent(REAL x) {
    REAL scale, rest = exp_parts(2 * limit(x, -MAX_TANH, MAX_TANH), &scale);
    REAL y = scale * rest + (scale - 1);
    return y / (y + 2);
}

#endif
