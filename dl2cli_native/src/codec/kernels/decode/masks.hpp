// Between coefficients and bit masks: which are not zero, and what refinement scans did to them.
#pragma once

#include "codec/kernels/bits.hpp"

namespace dl2::codec::DL2_CODEC_ISA {

static void find_nonzero(const i16* blocks, std::size_t count, u64* masks) {
    for (std::size_t i = 0; i < count; ++i, blocks += 64) {
#if defined(DL2_CODEC_AVX512)
        const __m512i low = _mm512_load_si512(blocks);
        const __m512i high = _mm512_load_si512(blocks + 32);
        masks[i] = static_cast<u64>(_mm512_test_epi16_mask(low, low)) |
                   static_cast<u64>(_mm512_test_epi16_mask(high, high)) << 32;
#elif defined(DL2_CODEC_AVX2)
        const auto* const in = reinterpret_cast<const __m256i*>(blocks);
        const __m256i zero = _mm256_setzero_si256();
        u64 mask = 0;
        for (int half = 1; half >= 0; --half) {
            const __m256i a = _mm256_cmpeq_epi16(_mm256_load_si256(in + 2 * half), zero);
            const __m256i b = _mm256_cmpeq_epi16(_mm256_load_si256(in + 2 * half + 1), zero);
            const __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi16(a, b), 0xD8);
            mask = mask << 32 | static_cast<u32>(_mm256_movemask_epi8(both));
        }
        masks[i] = ~mask;
#else
        u64 mask = 0;
        for (int k = 0; k < 64; ++k) mask |= static_cast<u64>(blocks[k] != 0) << k;
        masks[i] = mask;
#endif
    }
}

// One refinement of one block: the coefficients in `fresh` become 1 or -1 at bit `al`, those in
// `corrected` grow by that bit, away from zero.
#if defined(DL2_CODEC_AVX512)
DL2_INLINE void refine_block(i16* block, const RefinedBits& bits, std::size_t i) {
    __m512i low = _mm512_load_si512(block);
    __m512i high = _mm512_load_si512(block + 32);
    const u64 below_zero = static_cast<u64>(_mm512_movepi16_mask(low)) |
                           static_cast<u64>(_mm512_movepi16_mask(high)) << 32;
    const u64 corrected = bits.corrected[i];
    const u64 negative = bits.negative[i];
    const u64 plus = (corrected & ~below_zero) | (bits.fresh[i] & ~negative);
    const u64 minus = (corrected & below_zero) | negative;
    const __m512i step = _mm512_set1_epi16(static_cast<i16>(1 << bits.al));
    low = _mm512_mask_add_epi16(low, static_cast<u32>(plus), low, step);
    high = _mm512_mask_add_epi16(high, static_cast<u32>(plus >> 32), high, step);
    low = _mm512_mask_sub_epi16(low, static_cast<u32>(minus), low, step);
    high = _mm512_mask_sub_epi16(high, static_cast<u32>(minus >> 32), high, step);
    _mm512_store_si512(block, low);
    _mm512_store_si512(block + 32, high);
}
#elif defined(DL2_CODEC_AVX2)
// Sixteen bits of a mask as sixteen numbers, 0 or -1.
DL2_INLINE __m256i spread(u64 mask, int quarter) {
    const __m256i low_or_high = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
                                                 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m256i bit = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i bits = _mm256_set1_epi16(static_cast<i16>(mask >> (16 * quarter)));
    const __m256i own = _mm256_and_si256(_mm256_shuffle_epi8(bits, low_or_high), bit);
    return _mm256_cmpeq_epi16(own, bit);
}

DL2_INLINE void refine_block(i16* block, const RefinedBits& bits, std::size_t i) {
    const __m256i step = _mm256_set1_epi16(static_cast<i16>(1 << bits.al));
    auto* const at = reinterpret_cast<__m256i*>(block);
    for (int quarter = 0; quarter < 4; ++quarter) {
        const __m256i values = _mm256_load_si256(at + quarter);
        const __m256i negative = spread(bits.negative[i], quarter);
        const __m256i fresh = _mm256_and_si256(spread(bits.fresh[i], quarter), step);
        const __m256i corrected = _mm256_and_si256(spread(bits.corrected[i], quarter), step);
        const __m256i added = _mm256_sub_epi16(_mm256_xor_si256(fresh, negative), negative);
        const __m256i grown = _mm256_sign_epi16(corrected, values);
        const __m256i sum = _mm256_add_epi16(values, _mm256_add_epi16(added, grown));
        _mm256_store_si256(at + quarter, sum);
    }
}
#else
DL2_INLINE void refine_block(i16* block, const RefinedBits& bits, std::size_t i) {
    const int step = 1 << bits.al;
    for (u64 left = bits.corrected[i]; left != 0; left &= left - 1) {
        i16& value = block[__builtin_ctzll(left)];
        value = static_cast<i16>(value < 0 ? value - step : value + step);
    }
    for (u64 left = bits.fresh[i]; left != 0; left &= left - 1) {
        const int place = __builtin_ctzll(left);
        const bool negative = ((bits.negative[i] >> place) & 1) != 0;
        block[place] = static_cast<i16>(negative ? -step : step);
    }
}
#endif

static void apply(i16* blocks, std::size_t count, const RefinedBits* refined, std::size_t scans,
                  const i16* dc) {
    for (std::size_t i = 0; i < count; ++i, blocks += 64) {
        for (std::size_t scan = 0; scan < scans; ++scan) refine_block(blocks, refined[scan], i);
        if (dc != nullptr) blocks[0] = dc[i];
    }
}

}  // namespace dl2::codec::DL2_CODEC_ISA
