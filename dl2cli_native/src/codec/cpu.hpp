// Which instructions the codec runs. Every path gives the same bytes; they differ in speed alone.
#pragma once

#include <vector>

namespace dl2::codec {

enum class Isa {
    portable,  // plain C++, on every processor
    avx2,      // AVX2 and BMI2
    avx512,    // AVX-512 F, BW, CD, DQ, VL, VBMI and VBMI2, and BMI2
};

// The path in use: the best that this processor has, or what the environment variable
// DL2_CODEC_ISA (avx512, avx2 or portable) names. Throws Error(argument) if that is none of them,
// or more than this processor can run.
Isa isa();

// What this processor can run, the slowest first.
std::vector<Isa> available_isas();

// Chooses a path for all threads, for tests and benchmarks. Throws Error(argument) if this
// processor cannot run it.
void use_isa(Isa wanted);

// Whether pdep and pext are single instructions. AMD processors before Zen 3 have them in
// microcode, a bit at a time: there, the entropy coders take the portable path.
bool has_fast_pdep();

// Whether the native codec should decode. The portable path is slower than libjpeg, so it decodes
// only if DL2_CODEC_ISA or use_isa asked for it.
bool decoding_pays();

const char* name(Isa isa);

}  // namespace dl2::codec
