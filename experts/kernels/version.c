// Which sources and which compiler the shared library was built from; compiled for float alone.
#include "real.h"

#ifndef BADGER_DOUBLE

uint32_t badger_kernels_sources(void) { return BADGER_SOURCES; }

const char *badger_kernels_compiler(void) {
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#else
    return "an unknown compiler";
#endif
}

#endif
