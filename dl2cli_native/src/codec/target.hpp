// Compiles what stands between DL2_TARGET_BEGIN("avx2,bmi2") and DL2_TARGET_END for those
// instructions. Headers must be included before: a file compiled with -mavx2 as a whole could
// leave its copies of the standard library's inline functions to the rest of the program, and so
// to processors that cannot run them.
#pragma once

#define DL2_PRAGMA(text) _Pragma(#text)

#if defined(__clang__)
#define DL2_TARGET_BEGIN(features) \
    DL2_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define DL2_TARGET_END DL2_PRAGMA(clang attribute pop)
#else
#define DL2_TARGET_BEGIN(features) DL2_PRAGMA(GCC push_options) DL2_PRAGMA(GCC target(features))
#define DL2_TARGET_END DL2_PRAGMA(GCC pop_options)
#endif
