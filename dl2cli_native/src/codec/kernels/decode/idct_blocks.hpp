// Rows of blocks through the inverse DCT: from coefficients in zigzag order to samples.
#pragma once

#include "codec/kernels/decode/idct.hpp"

namespace dl2::codec::DL2_CODEC_ISA {

// The zigzag index of each coefficient in natural order.
alignas(64) constexpr u16 kZigzag[64] = {
    0,  1,  5,  6,  14, 15, 27, 28, 2,  4,  7,  13, 16, 26, 29, 42, 3,  8,  12, 17, 25, 30,
    41, 43, 9,  11, 18, 24, 31, 40, 44, 53, 10, 19, 23, 32, 39, 45, 52, 54, 20, 22, 33, 38,
    46, 51, 55, 60, 21, 34, 37, 47, 50, 56, 59, 61, 35, 36, 48, 49, 57, 58, 62, 63};

// libjpeg's vector code has a shortcut for blocks with nothing below their first row: it multiplies
// that row by four within 16 bits, where the first pass saturates. To do so as well, numbers whose
// product would not fit lose their highest bits here. Only damaged images have any.
DL2_COLD void wrap_first_rows(const i16* blocks, i16* row, int lanes) {
    for (int lane = 0; lane < lanes; ++lane, blocks += 64, row += 8) {
        i16 below = 0;
        for (int i = 8; i < 64; ++i) below = static_cast<i16>(below | blocks[kZigzag[i]]);
        for (int i = 0; below == 0 && i < 8; ++i) {
            const auto product = static_cast<i16>(static_cast<u16>(row[i]) << kPass1Bits);
            row[i] = static_cast<i16>(product >> kPass1Bits);
        }
    }
}

#if defined(DL2_CODEC_AVX512)

DL2_INLINE void wrap_extremes(const i16* blocks, Vector& row) {
    const Vector back = _mm512_srai_epi16(_mm512_slli_epi16(row, kPass1Bits), kPass1Bits);
    if (DL2_UNLIKELY(_mm512_cmpneq_epi16_mask(row, back) != 0)) {
        alignas(64) i16 values[32];
        _mm512_store_si512(values, row);
        wrap_first_rows(blocks, values, kLanes);
        row = _mm512_load_si512(values);
    }
}

// Four vectors of four rows of one block each, to four vectors of one row of four blocks each.
DL2_INLINE void gather_rows(const Vector in[4], Vector out[4]) {
    const Vector a = _mm512_shuffle_i64x2(in[0], in[1], 0x44);
    const Vector b = _mm512_shuffle_i64x2(in[0], in[1], 0xEE);
    const Vector c = _mm512_shuffle_i64x2(in[2], in[3], 0x44);
    const Vector d = _mm512_shuffle_i64x2(in[2], in[3], 0xEE);
    out[0] = _mm512_shuffle_i64x2(a, c, 0x88);
    out[1] = _mm512_shuffle_i64x2(a, c, 0xDD);
    out[2] = _mm512_shuffle_i64x2(b, d, 0x88);
    out[3] = _mm512_shuffle_i64x2(b, d, 0xDD);
}

static void idct(const i16* blocks, std::size_t count, const u16* quant, u8* out,
                 std::size_t stride) {
    const Vector upper = _mm512_load_si512(kZigzag);
    const Vector lower = _mm512_load_si512(kZigzag + 32);
    const Vector upper_quant = _mm512_loadu_si512(quant);
    const Vector lower_quant = _mm512_loadu_si512(quant + 32);
    const Vector by_row = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    const Vector center = _mm512_set1_epi8(-128);
    for (std::size_t i = 0; i < count; i += kLanes, blocks += 64 * kLanes, out += 8 * kLanes) {
        Vector x[4];
        Vector y[4];
        for (int lane = 0; lane < kLanes; ++lane) {
            const Vector a = _mm512_load_si512(blocks + 64 * lane);
            const Vector b = _mm512_load_si512(blocks + 64 * lane + 32);
            x[lane] = mul16(_mm512_permutex2var_epi16(a, upper, b), upper_quant);
            y[lane] = mul16(_mm512_permutex2var_epi16(a, lower, b), lower_quant);
        }
        Vector r[8];
        gather_rows(x, r);
        gather_rows(y, r + 4);
        wrap_extremes(blocks, r[0]);
        pass<kConstBits - kPass1Bits>(r);
        transpose(r);
        pass<kConstBits + kPass1Bits + 3>(r);
        Vector packed[4];
        pack_rows(r, packed);
        for (int row = 0; row < 8; row += 2) {
            const Vector samples =
                _mm512_xor_si512(_mm512_permutexvar_epi64(by_row, packed[row / 2]), center);
            u8* const at = out + stride * static_cast<std::size_t>(row);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), _mm512_castsi512_si256(samples));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(at + stride),
                                _mm512_extracti64x4_epi64(samples, 1));
        }
    }
}

#elif defined(DL2_CODEC_AVX2)

// For each row and each eight coefficients in zigzag order: how the latter's bytes are moved to
// the row, 0x80 where they have no part in it.
struct RowShuffles {
    alignas(32) u8 bytes[8][8][32];
    bool used[8][8];

    constexpr RowShuffles() : bytes(), used() {
        for (int row = 0; row < 8; ++row) {
            for (int part = 0; part < 8; ++part) {
                for (int column = 0; column < 8; ++column) {
                    const int from = kZigzag[8 * row + column];
                    const bool here = from / 8 == part;
                    used[row][part] = used[row][part] || here;
                    for (int byte = 0; byte < 2; ++byte) {
                        const int value = here ? 2 * (from % 8) + byte : 0x80;
                        bytes[row][part][2 * column + byte] = static_cast<u8>(value);
                        bytes[row][part][16 + 2 * column + byte] = static_cast<u8>(value);
                    }
                }
            }
        }
    }
};
constexpr RowShuffles kShuffles;

DL2_INLINE void wrap_extremes(const i16* blocks, Vector& row) {
    const Vector back = _mm256_srai_epi16(_mm256_slli_epi16(row, kPass1Bits), kPass1Bits);
    if (DL2_UNLIKELY(_mm256_movemask_epi8(_mm256_cmpeq_epi16(row, back)) != -1)) {
        alignas(32) i16 values[16];
        _mm256_store_si256(reinterpret_cast<Vector*>(values), row);
        wrap_first_rows(blocks, values, kLanes);
        row = _mm256_load_si256(reinterpret_cast<const Vector*>(values));
    }
}

DL2_INLINE void load_rows(const i16* blocks, Vector r[8]) {
    Vector parts[8];
    for (int i = 0; i < 8; ++i) {
        const auto* const at = reinterpret_cast<const __m128i*>(blocks + 8 * i);
        parts[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_load_si128(at)),
                                           _mm_load_si128(at + 8), 1);
    }
#pragma GCC unroll 8
    for (int row = 0; row < 8; ++row) {
        Vector sum = _mm256_setzero_si256();
#pragma GCC unroll 8
        for (int part = 0; part < 8; ++part) {
            if (!kShuffles.used[row][part]) continue;
            const auto* const shuffle =
                reinterpret_cast<const __m256i*>(kShuffles.bytes[row][part]);
            sum =
                _mm256_or_si256(sum, _mm256_shuffle_epi8(parts[part], _mm256_load_si256(shuffle)));
        }
        r[row] = sum;
    }
}

static void idct(const i16* blocks, std::size_t count, const u16* quant, u8* out,
                 std::size_t stride) {
    const Vector center = _mm256_set1_epi8(-128);
    for (std::size_t i = 0; i < count; i += kLanes, blocks += 64 * kLanes, out += 8 * kLanes) {
        Vector r[8];
        load_rows(blocks, r);
        for (int row = 0; row < 8; ++row) {
            const auto* const steps = reinterpret_cast<const __m128i*>(quant + 8 * row);
            r[row] = mul16(r[row], _mm256_broadcastsi128_si256(_mm_loadu_si128(steps)));
        }
        wrap_extremes(blocks, r[0]);
        pass<kConstBits - kPass1Bits>(r);
        transpose(r);
        pass<kConstBits + kPass1Bits + 3>(r);
        Vector packed[4];
        pack_rows(r, packed);
        for (int row = 0; row < 8; row += 2) {
            const Vector samples =
                _mm256_xor_si256(_mm256_permute4x64_epi64(packed[row / 2], 0xD8), center);
            u8* const at = out + stride * static_cast<std::size_t>(row);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(at), _mm256_castsi256_si128(samples));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(at + stride),
                             _mm256_extracti128_si256(samples, 1));
        }
    }
}

#else

DL2_INLINE i32 wrap16(i32 value) {
    return static_cast<i16>(static_cast<u16>(value));
}

DL2_INLINE i32 clamp(i32 value, i32 low, i32 high) {
    return value < low ? low : value > high ? high : value;
}

// Eight numbers, `step` apart, in place.
template <int kShift>
DL2_INLINE void pass(i32* at, int step) {
    i32 in[8];
    for (int i = 0; i < 8; ++i) in[i] = at[i * step];
    const i32 round = 1 << (kShift - 1);
    const i32 tmp2 = in[2] * kFix0_541 + in[6] * (kFix0_541 - kFix1_847);
    const i32 tmp3 = in[2] * (kFix0_541 + kFix0_765) + in[6] * kFix0_541;
    const i32 tmp0 = wrap16(in[0] + in[4]) * (1 << kConstBits) + round;
    const i32 tmp1 = wrap16(in[0] - in[4]) * (1 << kConstBits) + round;
    const i32 z3 = wrap16(in[7] + in[3]);
    const i32 z4 = wrap16(in[5] + in[1]);
    const i32 y3 = z3 * (kFix1_175 - kFix1_961) + z4 * kFix1_175;
    const i32 y4 = z3 * kFix1_175 + z4 * (kFix1_175 - kFix0_390);
    // Sums of products of 16 bits can pass 32 bits; they wrap.
    const auto sum = [](i32 a, i32 b) {
        return static_cast<i32>(static_cast<u32>(a) + static_cast<u32>(b));
    };
    const i32 odd[4] = {sum(in[7] * (kFix0_298 - kFix0_899) + in[1] * -kFix0_899, y3),
                        sum(in[5] * (kFix2_053 - kFix2_562) + in[3] * -kFix2_562, y4),
                        sum(in[5] * -kFix2_562 + in[3] * (kFix3_072 - kFix2_562), y3),
                        sum(in[7] * -kFix0_899 + in[1] * (kFix1_501 - kFix0_899), y4)};
    const i32 even[4] = {sum(tmp1, -tmp2), sum(tmp1, tmp2), sum(tmp0, tmp3), sum(tmp0, -tmp3)};
    const i32 order[4] = {even[2], even[1], even[0], even[3]};
    for (int i = 0; i < 4; ++i) {
        at[i * step] = clamp(sum(order[i], odd[3 - i]) >> kShift, -32768, 32767);
        at[(7 - i) * step] = clamp(sum(order[i], -odd[3 - i]) >> kShift, -32768, 32767);
    }
}

static void idct(const i16* blocks, std::size_t count, const u16* quant, u8* out,
                 std::size_t stride) {
    for (std::size_t i = 0; i < count; ++i, blocks += 64, out += 8) {
        i32 values[64];
        for (int k = 0; k < 64; ++k) values[k] = wrap16(blocks[kZigzag[k]] * quant[k]);
        i16 first[8];
        for (int k = 0; k < 8; ++k) first[k] = static_cast<i16>(values[k]);
        bool extreme = false;
        for (const i16 value : first) extreme = extreme || value > 8191 || value < -8192;
        if (DL2_UNLIKELY(extreme)) wrap_first_rows(blocks, first, 1);
        for (int k = 0; k < 8; ++k) values[k] = first[k];
        for (int column = 0; column < 8; ++column) {
            pass<kConstBits - kPass1Bits>(values + column, 8);
        }
        for (int row = 0; row < 8; ++row) {
            pass<kConstBits + kPass1Bits + 3>(values + 8 * row, 1);
            for (int x = 0; x < 8; ++x) {
                const i32 sample = clamp(values[8 * row + x], -128, 127) + 128;
                out[stride * static_cast<std::size_t>(row) + static_cast<std::size_t>(x)] =
                    static_cast<u8>(sample);
            }
        }
    }
}

#endif

// What the two passes make of a block that is flat.
static void idct_dc(const i16* dc, std::size_t count, u32 quant, u8* out, std::size_t stride) {
    for (std::size_t i = 0; i < count; ++i, out += 8) {
        const i32 value = (dc[i] * static_cast<i32>(quant) + 4) >> 3;
        const i32 sample = (value < -128 ? -128 : value > 127 ? 127 : value) + 128;
        const u64 row = 0x0101010101010101u * static_cast<u64>(sample);
        for (std::size_t y = 0; y < 8; ++y) std::memcpy(out + stride * y, &row, sizeof row);
    }
}

}  // namespace dl2::codec::DL2_CODEC_ISA
