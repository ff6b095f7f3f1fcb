// The bit masks of blocks that all scans of a component work on: which coefficients are negative,
// which are non-zero at each bit position, and their bit there.
#pragma once

#include "codec/kernels/bits.hpp"
#include "codec/kernels/encode_kernels.hpp"

namespace dl2::codec::DL2_CODEC_ISA {

#if defined(DL2_CODEC_AVX512)

DL2_INLINE u64 mask_of(__mmask32 low, __mmask32 high) {
    return u64{low} | (u64{high} << 32);
}

static u32 planes(const i16* blocks, std::size_t count, unsigned top, BitPlanes& masks, i16* dc) {
    __m512i seen = _mm512_setzero_si512();
    const __m512i above = _mm512_set1_epi16(static_cast<short>(0xFFFFu << top));
    for (std::size_t i = 0; i < count; ++i, blocks += 64) {
        __m512i low = _mm512_loadu_si512(blocks);
        __m512i high = _mm512_loadu_si512(blocks + 32);
        dc[i] = blocks[0];
        masks.negative[i] = mask_of(_mm512_movepi16_mask(low), _mm512_movepi16_mask(high));
        low = _mm512_abs_epi16(low);
        high = _mm512_abs_epi16(high);
        seen = _mm512_or_si512(seen, _mm512_or_si512(_mm512_maskz_mov_epi16(~1u, low), high));
        u64 nonzero =
            mask_of(_mm512_test_epi16_mask(low, above), _mm512_test_epi16_mask(high, above));
        masks.nonzero[top][i] = nonzero;
        for (unsigned p = top; p-- > 0;) {
            const __m512i bit = _mm512_set1_epi16(static_cast<short>(1u << p));
            const u64 set =
                mask_of(_mm512_test_epi16_mask(low, bit), _mm512_test_epi16_mask(high, bit));
            masks.bit[p][i] = set;
            masks.nonzero[p][i] = nonzero |= set;
        }
    }
    const __m512i halves = _mm512_or_si512(seen, _mm512_srli_epi32(seen, 16));
    return static_cast<u32>(_mm512_reduce_or_epi32(halves)) & 0xFFFF;
}

#elif defined(DL2_CODEC_AVX2)

// The highest bits of 64 values of 16 bits.
DL2_INLINE u64 high_bits(const __m256i* v) {
    // Packing saturates, which leaves the signs, and mixes the halves of two vectors.
    const __m256i low = _mm256_permute4x64_epi64(_mm256_packs_epi16(v[0], v[1]), 0xD8);
    const __m256i high = _mm256_permute4x64_epi64(_mm256_packs_epi16(v[2], v[3]), 0xD8);
    const auto low_mask = static_cast<u32>(_mm256_movemask_epi8(low));
    const auto high_mask = static_cast<u32>(_mm256_movemask_epi8(high));
    return low_mask | (u64{high_mask} << 32);
}

static u32 planes(const i16* blocks, std::size_t count, unsigned top, BitPlanes& masks, i16* dc) {
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
        u64 nonzero = ~high_bits(shifted);
        masks.nonzero[top][i] = nonzero;
        for (unsigned p = top; p-- > 0;) {
            const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(15 - p));
            for (int j = 0; j < 4; ++j) shifted[j] = _mm256_sll_epi16(v[j], shift);
            const u64 bit = high_bits(shifted);
            masks.bit[p][i] = bit;
            masks.nonzero[p][i] = nonzero |= bit;
        }
    }
    alignas(32) u16 lanes[16];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), seen);
    u32 all = 0;
    for (const u16 lane : lanes) all |= lane;
    return all;
}

#else

// Whether four coefficients are all zero: most are, and so are their neighbours.
DL2_INLINE bool four_zeros(const i16* coefficients) {
    u64 four;
    std::memcpy(&four, coefficients, sizeof four);
    return four == 0;
}

static u32 planes(const i16* blocks, std::size_t count, unsigned top, BitPlanes& masks, i16* dc) {
    u32 seen = 0;
    for (std::size_t i = 0; i < count; ++i, blocks += 64) {
        u64 negative = 0;
        u64 above = 0;
        u64 bit[kMaxBitPosition + 1] = {};
        dc[i] = blocks[0];
        for (unsigned k = 0; k < 64; ++k) {
            if (k % 4 == 0 && four_zeros(blocks + k)) {
                k += 3;
                continue;
            }
            const i32 value = blocks[k];
            const u64 sign = value < 0 ? 1 : 0;
            const auto magnitude = static_cast<u32>(value < 0 ? -value : value);
            if (k > 0) seen |= magnitude;
            negative |= sign << k;
            above |= u64{(magnitude >> top) != 0} << k;
            for (unsigned p = 0; p < top; ++p) bit[p] |= u64{(magnitude >> p) & 1} << k;
        }
        masks.negative[i] = negative;
        masks.nonzero[top][i] = above;
        for (unsigned p = top; p-- > 0;) {
            masks.bit[p][i] = bit[p];
            masks.nonzero[p][i] = above |= bit[p];
        }
    }
    return seen;
}

#endif

}  // namespace dl2::codec::DL2_CODEC_ISA
