// libjpeg's fancy upsampling (jdsample.c) and its conversion of YCbCr (jdcolor.c), exactly.
#pragma once

#include "codec/kernels/bits.hpp"

namespace dl2::codec::DL2_CODEC_ISA {

#if defined(DL2_CODEC_BMI2)

DL2_INLINE __m256i widen(const u8* at) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}

DL2_INLINE __m256i times_3(__m256i a) {
    return _mm256_add_epi16(a, _mm256_slli_epi16(a, 1));
}

// Samples of 16 bits each, at even and at odd places, side by side.
DL2_INLINE void store_pairs(u8* out, __m256i even, __m256i odd) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                        _mm256_or_si256(even, _mm256_slli_epi16(odd, 8)));
}

static void h2v1(const u8* in, std::size_t count, u8* out) {
    const __m256i one = _mm256_set1_epi16(1);
    const __m256i two = _mm256_set1_epi16(2);
    for (std::size_t i = 0; i < count; i += 16) {
        const __m256i own = times_3(widen(in + i));
        const __m256i left = _mm256_add_epi16(widen(in + i - 1), one);
        const __m256i right = _mm256_add_epi16(widen(in + i + 1), two);
        store_pairs(out + 2 * i, _mm256_srli_epi16(_mm256_add_epi16(own, left), 2),
                    _mm256_srli_epi16(_mm256_add_epi16(own, right), 2));
    }
}

static void h2v2(const u8* near, const u8* far, std::size_t count, u8* out) {
    const auto column = [near, far](std::size_t at, int offset) {
        return _mm256_add_epi16(times_3(widen(near + at + offset)), widen(far + at + offset));
    };
    const __m256i seven = _mm256_set1_epi16(7);
    const __m256i eight = _mm256_set1_epi16(8);
    for (std::size_t i = 0; i < count; i += 16) {
        const __m256i own = times_3(column(i, 0));
        const __m256i left = _mm256_add_epi16(column(i, -1), eight);
        const __m256i right = _mm256_add_epi16(column(i, 1), seven);
        store_pairs(out + 2 * i, _mm256_srli_epi16(_mm256_add_epi16(own, left), 4),
                    _mm256_srli_epi16(_mm256_add_epi16(own, right), 4));
    }
}

#else

static void h2v1(const u8* in, std::size_t count, u8* out) {
    for (std::size_t i = 0; i < count; ++i) {
        const int own = 3 * in[i];
        out[2 * i] = static_cast<u8>((own + in[static_cast<i64>(i) - 1] + 1) >> 2);
        out[2 * i + 1] = static_cast<u8>((own + in[i + 1] + 2) >> 2);
    }
}

static void h2v2(const u8* near, const u8* far, std::size_t count, u8* out) {
    const auto column = [near, far](i64 at) { return 3 * near[at] + far[at]; };
    for (std::size_t i = 0; i < count; ++i) {
        const i64 at = static_cast<i64>(i);
        const int own = 3 * column(at);
        out[2 * i] = static_cast<u8>((own + column(at - 1) + 8) >> 4);
        out[2 * i + 1] = static_cast<u8>((own + column(at + 1) + 7) >> 4);
    }
}

#endif

static void h1v2(const u8* near, const u8* far, std::size_t count, bool lower, u8* out) {
    const int bias = lower ? 2 : 1;
    for (std::size_t i = 0; i < count; ++i) {
        out[i] = static_cast<u8>((3 * near[i] + far[i] + bias) >> 2);
    }
}

// R = Y + 1.402 Cr, G = Y - 0.34414 Cb - 0.71414 Cr, B = Y + 1.772 Cb, with factors of 16 bits of
// fraction. What exceeds 16 bits of a factor is added as a whole number.
constexpr int kRedCr = 91881 - 65536;
constexpr int kGreenCb = -22554;
constexpr int kGreenCr = 65536 - 46802;
constexpr int kBlueCb = 116130 - 2 * 65536;

#if defined(DL2_CODEC_AVX512)

DL2_INLINE __m512i factors(int a, int b) {
    return _mm512_set1_epi32(
        static_cast<i32>(static_cast<u32>(b) << 16 | (static_cast<u32>(a) & 0xFFFF)));
}

DL2_INLINE __m512i product(__m512i low, __m512i high, __m512i by) {
    const __m512i half = _mm512_set1_epi32(1 << 15);
    return _mm512_packs_epi32(
        _mm512_srai_epi32(_mm512_add_epi32(_mm512_madd_epi16(low, by), half), 16),
        _mm512_srai_epi32(_mm512_add_epi32(_mm512_madd_epi16(high, by), half), 16));
}

static void ycc_to_rgbx(const u8* y, const u8* cb, const u8* cr, std::size_t count, u8* out) {
    const __m512i center = _mm512_set1_epi16(128);
    const __m512i interleave =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    const auto widen32 = [](const u8* at) {
        return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
    };
    for (std::size_t i = 0; i < count; i += 32) {
        const __m512i light = widen32(y + i);
        const __m512i b = _mm512_sub_epi16(widen32(cb + i), center);
        const __m512i r = _mm512_sub_epi16(widen32(cr + i), center);
        const __m512i low = _mm512_unpacklo_epi16(b, r);
        const __m512i high = _mm512_unpackhi_epi16(b, r);
        const __m512i red =
            _mm512_add_epi16(_mm512_add_epi16(light, r), product(low, high, factors(0, kRedCr)));
        const __m512i green = _mm512_add_epi16(_mm512_sub_epi16(light, r),
                                               product(low, high, factors(kGreenCb, kGreenCr)));
        const __m512i blue = _mm512_add_epi16(_mm512_add_epi16(light, _mm512_add_epi16(b, b)),
                                              product(low, high, factors(kBlueCb, 0)));
        const __m512i rg = _mm512_shuffle_epi8(_mm512_packus_epi16(red, green), interleave);
        const __m512i bx =
            _mm512_shuffle_epi8(_mm512_packus_epi16(blue, _mm512_set1_epi16(255)), interleave);
        const __m512i left = _mm512_unpacklo_epi16(rg, bx);
        const __m512i right = _mm512_unpackhi_epi16(rg, bx);
        _mm512_storeu_si512(out + 4 * i, _mm512_permutex2var_epi64(left, first, right));
        _mm512_storeu_si512(out + 4 * i + 64, _mm512_permutex2var_epi64(left, second, right));
    }
}

#elif defined(DL2_CODEC_AVX2)

DL2_INLINE __m256i factors(int a, int b) {
    return _mm256_set1_epi32(
        static_cast<i32>(static_cast<u32>(b) << 16 | (static_cast<u32>(a) & 0xFFFF)));
}

DL2_INLINE __m256i product(__m256i low, __m256i high, __m256i by) {
    const __m256i half = _mm256_set1_epi32(1 << 15);
    return _mm256_packs_epi32(
        _mm256_srai_epi32(_mm256_add_epi32(_mm256_madd_epi16(low, by), half), 16),
        _mm256_srai_epi32(_mm256_add_epi32(_mm256_madd_epi16(high, by), half), 16));
}

static void ycc_to_rgbx(const u8* y, const u8* cb, const u8* cr, std::size_t count, u8* out) {
    const __m256i center = _mm256_set1_epi16(128);
    const __m256i interleave = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    for (std::size_t i = 0; i < count; i += 16) {
        const __m256i light = widen(y + i);
        const __m256i b = _mm256_sub_epi16(widen(cb + i), center);
        const __m256i r = _mm256_sub_epi16(widen(cr + i), center);
        const __m256i low = _mm256_unpacklo_epi16(b, r);
        const __m256i high = _mm256_unpackhi_epi16(b, r);
        const __m256i red =
            _mm256_add_epi16(_mm256_add_epi16(light, r), product(low, high, factors(0, kRedCr)));
        const __m256i green = _mm256_add_epi16(_mm256_sub_epi16(light, r),
                                               product(low, high, factors(kGreenCb, kGreenCr)));
        const __m256i blue = _mm256_add_epi16(_mm256_add_epi16(light, _mm256_add_epi16(b, b)),
                                              product(low, high, factors(kBlueCb, 0)));
        const __m256i rg = _mm256_shuffle_epi8(_mm256_packus_epi16(red, green), interleave);
        const __m256i bx =
            _mm256_shuffle_epi8(_mm256_packus_epi16(blue, _mm256_set1_epi16(255)), interleave);
        const __m256i left = _mm256_unpacklo_epi16(rg, bx);
        const __m256i right = _mm256_unpackhi_epi16(rg, bx);
        auto* const at = reinterpret_cast<__m256i*>(out + 4 * i);
        _mm256_storeu_si256(at, _mm256_permute2x128_si256(left, right, 0x20));
        _mm256_storeu_si256(at + 1, _mm256_permute2x128_si256(left, right, 0x31));
    }
}

#else

DL2_INLINE u8 clamp_sample(int value) {
    return static_cast<u8>(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void ycc_to_rgbx(const u8* y, const u8* cb, const u8* cr, std::size_t count, u8* out) {
    constexpr int kHalf = 1 << 15;
    for (std::size_t i = 0; i < count; ++i, out += 4) {
        const int b = cb[i] - 128;
        const int r = cr[i] - 128;
        out[0] = clamp_sample(y[i] + r + ((kRedCr * r + kHalf) >> 16));
        out[1] = clamp_sample(y[i] - r + ((kGreenCb * b + kGreenCr * r + kHalf) >> 16));
        out[2] = clamp_sample(y[i] + 2 * b + ((kBlueCb * b + kHalf) >> 16));
        out[3] = 255;
    }
}

#endif

}  // namespace dl2::codec::DL2_CODEC_ISA
