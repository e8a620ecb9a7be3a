// Macros of kernels. Each source is compiled twice: REAL is float or double, and NAME(f) is f_float or f_double.
#ifndef BADGER_REAL_H
#define BADGER_REAL_H

#include <stdint.h>
#include <string.h>

#ifdef BADGER_DOUBLE
#define REAL double
#define NAME(name) name##_double
#else
#define REAL float
#define NAME(name) name##_float
#endif

// CLONES: attribute of a function that is compiled for several instruction sets, of which the loader selects one when the
// library is loaded. Empty where compiler or system have no such attribute. Clones may differ in the last digits, as some
// have a fused multiply-add.
#ifndef CLONES
#define CLONES
#endif

// An exported function, before its body; `parameters` with their types, `arguments` without. The exported function calls
// the clones, as clang does not export a function of that attribute by its name.
#define KERNEL(name, parameters, arguments)                                       \
    static CLONES void name##_clones parameters;                                  \
    __attribute__((visibility("default"))) void NAME(name) parameters {           \
        name##_clones arguments;                                                  \
    }                                                                             \
    static CLONES void name##_clones parameters

// Static functions are inlined, so that they are compiled with the instruction set of each clone.
#define INLINE static inline __attribute__((always_inline))

// A sum in any order, which vectorizes without -ffast-math: placed before a loop.
#define PRAGMA(text) _Pragma(#text)
#define SUM_LOOP(variable) PRAGMA(omp simd reduction(+ : variable))
// A loop whose iterations are independent.
#define SIMD_LOOP PRAGMA(omp simd)

#endif
