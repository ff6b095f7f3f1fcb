// The encoder's kernels for AVX2 and BMI2.
#if defined(__x86_64__)
#include <immintrin.h>

#include "codec/encode_tokens.hpp"
#include "codec/target.hpp"

DL2_TARGET_BEGIN("avx2,bmi,bmi2,lzcnt,popcnt")

namespace dl2::codec {
namespace {

#include "codec/encode_scalar.hpp"

#include "codec/encode_bmi2.hpp"

// The highest bits of 64 values of 16 bits.
inline std::uint64_t high_bits(const __m256i* v) {
    // Packing saturates, which leaves the signs, and mixes the halves of two vectors.
    const __m256i low = _mm256_permute4x64_epi64(_mm256_packs_epi16(v[0], v[1]), 0xD8);
    const __m256i high = _mm256_permute4x64_epi64(_mm256_packs_epi16(v[2], v[3]), 0xD8);
    const auto low_mask = static_cast<std::uint32_t>(_mm256_movemask_epi8(low));
    const auto high_mask = static_cast<std::uint32_t>(_mm256_movemask_epi8(high));
    return low_mask | (std::uint64_t{high_mask} << 32);
}

std::uint32_t planes(const std::int16_t* blocks, std::size_t count, unsigned top, BitPlanes& masks,
                     std::int16_t* dc) {
    __m256i seen = _mm256_setzero_si256();
    const __m256i ac = _mm256_insert_epi16(_mm256_set1_epi16(-1), 0, 0);
    const __m128i shift_top = _mm_cvtsi32_si128(static_cast<int>(top));
    for (std::size_t i = 0; i < count; ++i, blocks += 64) {
        __m256i v[4];
        __m256i shifted[4];
        for (int j = 0; j < 4; ++j) {
            v[j] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(blocks) + j);
        }
        dc[i] = blocks[0];
        masks.negative[i] = high_bits(v);
        for (int j = 0; j < 4; ++j) v[j] = _mm256_abs_epi16(v[j]);
        seen = _mm256_or_si256(seen,
                               _mm256_or_si256(_mm256_and_si256(v[0], ac),
                                               _mm256_or_si256(v[1], _mm256_or_si256(v[2], v[3]))));
        for (int j = 0; j < 4; ++j) {
            shifted[j] =
                _mm256_cmpeq_epi16(_mm256_srl_epi16(v[j], shift_top), _mm256_setzero_si256());
        }
        std::uint64_t nonzero = ~high_bits(shifted);
        masks.nonzero[top][i] = nonzero;
        for (unsigned p = top; p-- > 0;) {
            const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(15 - p));
            for (int j = 0; j < 4; ++j) shifted[j] = _mm256_sll_epi16(v[j], shift);
            const std::uint64_t bit = high_bits(shifted);
            masks.bit[p][i] = bit;
            masks.nonzero[p][i] = nonzero |= bit;
        }
    }
    alignas(32) std::uint16_t lanes[16];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), seen);
    std::uint32_t all = 0;
    for (const std::uint16_t lane : lanes) all |= lane;
    return all;
}

}  // namespace

const EncodeKernels& avx2_encode_kernels() {
    static const EncodeKernels kernels = {
        planes,          first_blocks, refine_blocks_bmi2, emit_first_tokens, emit_refine_tokens,
        stuff_bytes_avx2};
    return kernels;
}

}  // namespace dl2::codec

DL2_TARGET_END
#endif
