// Makes the tokens of AC scans, a chunk of blocks at a time. AVX-512 makes the tokens of a block
// side by side.
#pragma once

#include "codec/kernels/encode/tokens.hpp"

namespace dl2::codec::DL2_CODEC_ISA {

#if defined(DL2_CODEC_AVX512)

alignas(64) static const u8 kPositions[64] = {
    0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
    22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
    44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};

// Lane 0 becomes `first`, every other lane what was in the one below it.
DL2_INLINE __m128i move_up(__m128i lanes, __m128i below) {
    return _mm_alignr_epi8(lanes, below, 15);
}

// Tokens of up to 16 coefficients: their positions, and the zeros in front of each.
DL2_INLINE __m512i first_tokens(__m128i position, __m128i run, __m512i low, __m512i high,
                                __m128i al) {
    const __m512i at = _mm512_castsi256_si512(_mm256_cvtepu8_epi16(position));
    const __m512i value =
        _mm512_cvtepi16_epi32(_mm512_castsi512_si256(_mm512_permutex2var_epi16(low, at, high)));
    const __m512i sign = _mm512_srai_epi32(value, 31);
    const __m512i magnitude = _mm512_srl_epi32(_mm512_abs_epi32(value), al);
    const __m512i bits = _mm512_sub_epi32(_mm512_set1_epi32(32), _mm512_lzcnt_epi32(magnitude));
    const __m512i beyond = _mm512_sllv_epi32(_mm512_set1_epi32(-1), bits);
    const __m512i extra = _mm512_andnot_si512(beyond, _mm512_xor_si512(magnitude, sign));
    const __m512i symbol = _mm512_or_si512(_mm512_slli_epi32(_mm512_cvtepu8_epi32(run), 4), bits);
    return _mm512_or_si512(
        symbol, _mm512_or_si512(_mm512_slli_epi32(bits, 8), _mm512_slli_epi32(extra, 16)));
}

static void encode_first(const i16* blocks, const BitPlanes& masks, std::size_t count,
                         FirstScan& scan) {
    const __m512i positions = _mm512_load_si512(kPositions);
    const __m128i before_band = _mm_set1_epi8(static_cast<char>(scan.ss - 1));
    const __m128i one = _mm_set1_epi8(1);
    const __m128i al = _mm_cvtsi32_si128(static_cast<int>(scan.al));
    for (std::size_t i = 0; i < count; ++i) {
        const u64 nonzero = masks.nonzero[scan.al][i] & scan.band;
        if (nonzero == 0) {
            count_first_run(scan);
            continue;
        }
        const i16* const block = blocks + 64 * i;
        const auto tokens = static_cast<u32>(_mm_popcnt_u64(nonzero));
        const __m512i at = _mm512_maskz_compress_epi8(nonzero, positions);
        const __m512i low = _mm512_loadu_si512(block);
        const __m512i high = _mm512_loadu_si512(block + 32);
        alignas(64) u8 spilled[64];
        if (tokens > 16) _mm512_store_si512(spilled, at);
        end_first_run(scan);
        __m128i below = before_band;
        __m128i position = _mm512_castsi512_si128(at);
        FirstToken* out = scan.out;
        bool long_run = false;
        for (u32 done = 0;;) {
            const __m128i run = _mm_sub_epi8(_mm_sub_epi8(position, move_up(position, below)), one);
            const auto live = static_cast<__mmask16>(_bzhi_u32(0xFFFF, tokens - done));
            long_run |= _mm_mask_cmpgt_epu8_mask(live, run, _mm_set1_epi8(15)) != 0;
            _mm512_storeu_si512(out + done, first_tokens(position, run, low, high, al));
            done += 16;
            if (done >= tokens) break;
            below = position;
            position = _mm_load_si128(reinterpret_cast<const __m128i*>(spilled + done));
        }
        if (__builtin_expect(long_run, 0)) {  // needs ZRL tokens in between
            first_block(block, nonzero, scan);
            continue;
        }
        scan.out = out + tokens;
        if (63 - static_cast<u32>(_lzcnt_u64(nonzero)) < scan.se) count_first_run(scan);
    }
}

DL2_INLINE __m128i upper(__m128i lanes) {
    return _mm_srli_si128(lanes, 8);
}

// Tokens of up to 8 fresh coefficients: their positions, the zeros in front of each, where its
// corrections begin, and how many there are.
DL2_INLINE __m512i refine_tokens(__m128i position, __m128i run, __m128i begin, __m128i count,
                                 __m512i corrections, __m512i positive) {
    const __m512i one = _mm512_set1_epi64(1);
    const __m512i counts = _mm512_cvtepu8_epi64(count);
    const __m512i beyond = _mm512_sllv_epi64(_mm512_set1_epi64(-1), counts);
    const __m512i bits =
        _mm512_andnot_si512(beyond, _mm512_srlv_epi64(corrections, _mm512_cvtepu8_epi64(begin)));
    const __m512i sign =
        _mm512_and_si512(_mm512_srlv_epi64(positive, _mm512_cvtepu8_epi64(position)), one);
    const __m512i symbol = _mm512_or_si512(_mm512_slli_epi64(_mm512_cvtepu8_epi64(run), 4), one);
    const __m512i payload =
        _mm512_or_si512(_mm512_slli_epi64(bits, 17), _mm512_slli_epi64(sign, 16));
    const __m512i head =
        _mm512_or_si512(symbol, _mm512_slli_epi64(_mm512_add_epi64(counts, one), 8));
    return _mm512_or_si512(payload, head);
}

// Writes the tokens of a block's fresh coefficients, of which there are 16 at most; false if one
// of them is longer than a token may be.
DL2_INLINE bool refine_fresh(u64 fresh, u64 fresh_z, u64 corrections, u64 negative, u32 ss,
                             RefineToken* out) {
    const __m512i all = _mm512_load_si512(kPositions);
    const auto tokens = static_cast<u32>(_mm_popcnt_u64(fresh));
    const auto live = static_cast<__mmask16>(_bzhi_u32(0xFFFF, tokens));
    const __m128i one = _mm_set1_epi8(1);
    const __m128i zero = _mm_setzero_si128();
    const __m128i position = _mm512_castsi512_si128(_mm512_maskz_compress_epi8(fresh, all));
    const __m128i z = _mm512_castsi512_si128(_mm512_maskz_compress_epi8(fresh_z, all));
    const __m128i passed =  // known coefficients in front
        _mm_sub_epi8(_mm_sub_epi8(position, z), _mm_set1_epi8(static_cast<char>(ss)));
    const __m128i run = _mm_sub_epi8(_mm_sub_epi8(z, move_up(z, _mm_set1_epi8(-1))), one);
    const __m128i begin = move_up(passed, zero);
    const __m128i count = _mm_sub_epi8(passed, begin);
    const __mmask16 too_long =
        _mm_mask_cmpgt_epu8_mask(live, run, _mm_set1_epi8(15)) |
        _mm_mask_cmpgt_epu8_mask(live, count,
                                 _mm_set1_epi8(static_cast<char>(kMaxSymbolCorrections)));
    if (__builtin_expect(too_long != 0, 0)) return false;
    const __m512i bits = _mm512_set1_epi64(static_cast<long long>(corrections));
    const __m512i positive = _mm512_set1_epi64(static_cast<long long>(~negative));
    _mm512_storeu_si512(out, refine_tokens(position, run, begin, count, bits, positive));
    if (tokens > 8) {
        _mm512_storeu_si512(out + 8, refine_tokens(upper(position), upper(run), upper(begin),
                                                   upper(count), bits, positive));
    }
    return true;
}

static void encode_refine(const BitPlanes& masks, std::size_t count, RefineScan& scan) {
    for (std::size_t i = 0; i < count; ++i) {
        const u64 known = masks.nonzero[scan.al + 1][i] & scan.band;
        const u64 fresh = masks.nonzero[scan.al][i] & scan.band & ~known;
        const u64 bit = masks.bit[scan.al][i];
        const u64 corrections = _pext_u64(bit, known);
        const auto known_count = static_cast<u32>(_mm_popcnt_u64(known));
        u32 given = 0;
        u32 next_z = 0;
        if (fresh != 0) {
            const auto tokens = static_cast<u32>(_mm_popcnt_u64(fresh));
            const u64 fresh_z = _pext_u64(fresh, scan.band & ~known);
            end_refine_run(scan);
            if (tokens > 16 ||
                !refine_fresh(fresh, fresh_z, corrections, masks.negative[i], scan.ss, scan.out)) {
                refine_block_bmi2(known, fresh, bit, masks.negative[i], scan);
                continue;
            }
            scan.out += tokens;
            const auto last_z = 63 - static_cast<u32>(_lzcnt_u64(fresh_z));
            next_z = last_z + 1;
            given = 63 - static_cast<u32>(_lzcnt_u64(fresh)) - scan.ss - last_z;
        }
        const u32 behind = known_count - given;
        if (scan.se + 1 - scan.ss - given - next_z > 0) {
            count_refine_run(scan, behind > 0 ? corrections >> (given & 63) : 0, behind);
        }
    }
}

#else

static void encode_first(const i16* blocks, const BitPlanes& masks, std::size_t count,
                         FirstScan& scan) {
    for (std::size_t i = 0; i < count; ++i) {
        const u64 nonzero = masks.nonzero[scan.al][i] & scan.band;
        if (nonzero == 0) {
            count_first_run(scan);
        } else {
            first_block(blocks + 64 * i, nonzero, scan);
        }
    }
}

static void encode_refine(const BitPlanes& masks, std::size_t count, RefineScan& scan) {
    for (std::size_t i = 0; i < count; ++i) {
        const u64 known = masks.nonzero[scan.al + 1][i] & scan.band;
        const u64 fresh = masks.nonzero[scan.al][i] & scan.band & ~known;
#if defined(DL2_CODEC_BMI2)
        refine_block_bmi2(known, fresh, masks.bit[scan.al][i], masks.negative[i], scan);
#else
        refine_block(known, fresh, masks.bit[scan.al][i], masks.negative[i], scan);
#endif
    }
}

#endif

}  // namespace dl2::codec::DL2_CODEC_ISA
