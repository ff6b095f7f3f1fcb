// The inverse DCT "islow" of libjpeg (Loeffler, Ligtenberg and Moschytz, 1989; 13 bits of fraction,
// two passes), with the 16-bit arithmetic of libjpeg-turbo's vector code: also what overflows does
// so in the same way. Each 128-bit lane holds a row of one block, so that the same steps serve any
// width of vector; the portable path does one column or row at a time.
#pragma once

#include "codec/kernels/bits.hpp"

namespace dl2::codec::DL2_CODEC_ISA {

// Rounded to 13 bits of fraction, as in jidctint.c.
constexpr int kFix0_298 = 2446;
constexpr int kFix0_390 = 3196;
constexpr int kFix0_541 = 4433;
constexpr int kFix0_765 = 6270;
constexpr int kFix0_899 = 7373;
constexpr int kFix1_175 = 9633;
constexpr int kFix1_501 = 12299;
constexpr int kFix1_847 = 15137;
constexpr int kFix1_961 = 16069;
constexpr int kFix2_053 = 16819;
constexpr int kFix2_562 = 20995;
constexpr int kFix3_072 = 25172;
constexpr int kConstBits = 13;
constexpr int kPass1Bits = 2;

#if defined(DL2_CODEC_AVX512)
constexpr int kLanes = 4;
using Vector = __m512i;
DL2_INLINE Vector set32(i32 v) {
    return _mm512_set1_epi32(v);
}
DL2_INLINE Vector add16(Vector a, Vector b) {
    return _mm512_add_epi16(a, b);
}
DL2_INLINE Vector sub16(Vector a, Vector b) {
    return _mm512_sub_epi16(a, b);
}
DL2_INLINE Vector mul16(Vector a, Vector b) {
    return _mm512_mullo_epi16(a, b);
}
DL2_INLINE Vector add32(Vector a, Vector b) {
    return _mm512_add_epi32(a, b);
}
DL2_INLINE Vector sub32(Vector a, Vector b) {
    return _mm512_sub_epi32(a, b);
}
DL2_INLINE Vector madd(Vector a, Vector b) {
    return _mm512_madd_epi16(a, b);
}
template <int N>
DL2_INLINE Vector shift32(Vector a) {
    return _mm512_srai_epi32(a, N);
}
DL2_INLINE Vector pack32(Vector a, Vector b) {
    return _mm512_packs_epi32(a, b);
}
DL2_INLINE Vector pack16(Vector a, Vector b) {
    return _mm512_packs_epi16(a, b);
}
DL2_INLINE Vector low8(Vector a, Vector b) {
    return _mm512_unpacklo_epi8(a, b);
}
DL2_INLINE Vector high8(Vector a, Vector b) {
    return _mm512_unpackhi_epi8(a, b);
}
DL2_INLINE Vector low16(Vector a, Vector b) {
    return _mm512_unpacklo_epi16(a, b);
}
DL2_INLINE Vector high16(Vector a, Vector b) {
    return _mm512_unpackhi_epi16(a, b);
}
DL2_INLINE Vector low32(Vector a, Vector b) {
    return _mm512_unpacklo_epi32(a, b);
}
DL2_INLINE Vector high32(Vector a, Vector b) {
    return _mm512_unpackhi_epi32(a, b);
}
DL2_INLINE Vector low64(Vector a, Vector b) {
    return _mm512_unpacklo_epi64(a, b);
}
DL2_INLINE Vector high64(Vector a, Vector b) {
    return _mm512_unpackhi_epi64(a, b);
}
#elif defined(DL2_CODEC_AVX2)
constexpr int kLanes = 2;
using Vector = __m256i;
DL2_INLINE Vector set32(i32 v) {
    return _mm256_set1_epi32(v);
}
DL2_INLINE Vector add16(Vector a, Vector b) {
    return _mm256_add_epi16(a, b);
}
DL2_INLINE Vector sub16(Vector a, Vector b) {
    return _mm256_sub_epi16(a, b);
}
DL2_INLINE Vector mul16(Vector a, Vector b) {
    return _mm256_mullo_epi16(a, b);
}
DL2_INLINE Vector add32(Vector a, Vector b) {
    return _mm256_add_epi32(a, b);
}
DL2_INLINE Vector sub32(Vector a, Vector b) {
    return _mm256_sub_epi32(a, b);
}
DL2_INLINE Vector madd(Vector a, Vector b) {
    return _mm256_madd_epi16(a, b);
}
template <int N>
DL2_INLINE Vector shift32(Vector a) {
    return _mm256_srai_epi32(a, N);
}
DL2_INLINE Vector pack32(Vector a, Vector b) {
    return _mm256_packs_epi32(a, b);
}
DL2_INLINE Vector pack16(Vector a, Vector b) {
    return _mm256_packs_epi16(a, b);
}
DL2_INLINE Vector low8(Vector a, Vector b) {
    return _mm256_unpacklo_epi8(a, b);
}
DL2_INLINE Vector high8(Vector a, Vector b) {
    return _mm256_unpackhi_epi8(a, b);
}
DL2_INLINE Vector low16(Vector a, Vector b) {
    return _mm256_unpacklo_epi16(a, b);
}
DL2_INLINE Vector high16(Vector a, Vector b) {
    return _mm256_unpackhi_epi16(a, b);
}
DL2_INLINE Vector low32(Vector a, Vector b) {
    return _mm256_unpacklo_epi32(a, b);
}
DL2_INLINE Vector high32(Vector a, Vector b) {
    return _mm256_unpackhi_epi32(a, b);
}
DL2_INLINE Vector low64(Vector a, Vector b) {
    return _mm256_unpacklo_epi64(a, b);
}
DL2_INLINE Vector high64(Vector a, Vector b) {
    return _mm256_unpackhi_epi64(a, b);
}
#endif

#if defined(DL2_CODEC_BMI2)

// The numbers a and b in each pair of a vector.
DL2_INLINE Vector pair(int a, int b) {
    return set32(static_cast<i32>(static_cast<u32>(b) << 16 | (static_cast<u32>(a) & 0xFFFF)));
}

struct Half {
    Vector row[8];
};

// One pass over the low or the high half of the columns of a lane, in 32 bits. The names are those
// of jidctint.c: `r` are the inputs, z3 and z4 the sums of the odd part that wrap at 16 bits.
template <int kShift, class Unpack>
DL2_INLINE Half half_pass(const Vector r[8], Vector sum04, Vector difference04, Vector z3,
                          Vector z4, Unpack unpack) {
    const Vector round = set32(1 << (kShift - 1));
    const Vector z23 = unpack(r[2], r[6]);
    const Vector tmp2 = madd(z23, pair(kFix0_541, kFix0_541 - kFix1_847));
    const Vector tmp3 = madd(z23, pair(kFix0_541 + kFix0_765, kFix0_541));
    // x << 13, as a product: a lane has no shift that widens.
    const Vector zero = set32(0);
    const Vector one = pair(1 << kConstBits, 0);
    const Vector tmp0 = add32(madd(unpack(sum04, zero), one), round);
    const Vector tmp1 = add32(madd(unpack(difference04, zero), one), round);
    const Vector tmp10 = add32(tmp0, tmp3);
    const Vector tmp13 = sub32(tmp0, tmp3);
    const Vector tmp11 = add32(tmp1, tmp2);
    const Vector tmp12 = sub32(tmp1, tmp2);

    const Vector z34 = unpack(z3, z4);
    const Vector y3 = madd(z34, pair(kFix1_175 - kFix1_961, kFix1_175));
    const Vector y4 = madd(z34, pair(kFix1_175, kFix1_175 - kFix0_390));
    const Vector in71 = unpack(r[7], r[1]);
    const Vector in53 = unpack(r[5], r[3]);
    const Vector odd0 = add32(madd(in71, pair(kFix0_298 - kFix0_899, -kFix0_899)), y3);
    const Vector odd1 = add32(madd(in53, pair(kFix2_053 - kFix2_562, -kFix2_562)), y4);
    const Vector odd2 = add32(madd(in53, pair(-kFix2_562, kFix3_072 - kFix2_562)), y3);
    const Vector odd3 = add32(madd(in71, pair(-kFix0_899, kFix1_501 - kFix0_899)), y4);

    return {{shift32<kShift>(add32(tmp10, odd3)), shift32<kShift>(add32(tmp11, odd2)),
             shift32<kShift>(add32(tmp12, odd1)), shift32<kShift>(add32(tmp13, odd0)),
             shift32<kShift>(sub32(tmp13, odd0)), shift32<kShift>(sub32(tmp12, odd1)),
             shift32<kShift>(sub32(tmp11, odd2)), shift32<kShift>(sub32(tmp10, odd3))}};
}

template <int kShift>
DL2_INLINE void pass(Vector r[8]) {
    const Vector sum04 = add16(r[0], r[4]);
    const Vector difference04 = sub16(r[0], r[4]);
    const Vector z3 = add16(r[7], r[3]);
    const Vector z4 = add16(r[5], r[1]);
    const auto low = [](Vector a, Vector b) { return low16(a, b); };
    const auto high = [](Vector a, Vector b) { return high16(a, b); };
    const Half left = half_pass<kShift>(r, sum04, difference04, z3, z4, low);
    const Half right = half_pass<kShift>(r, sum04, difference04, z3, z4, high);
    for (int i = 0; i < 8; ++i) r[i] = pack32(left.row[i], right.row[i]);
}

// Rows to columns, in each lane for itself.
DL2_INLINE void transpose(Vector r[8]) {
    Vector a[8];
    for (int i = 0; i < 4; ++i) {
        a[2 * i] = low16(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = high16(r[2 * i], r[2 * i + 1]);
    }
    const Vector b[8] = {low32(a[0], a[2]),  high32(a[0], a[2]), low32(a[1], a[3]),
                         high32(a[1], a[3]), low32(a[4], a[6]),  high32(a[4], a[6]),
                         low32(a[5], a[7]),  high32(a[5], a[7])};
    for (int i = 0; i < 4; ++i) {
        r[2 * i] = low64(b[i], b[i + 4]);
        r[2 * i + 1] = high64(b[i], b[i + 4]);
    }
}

// Columns of a block to its rows as bytes, in each lane for itself: out[i] holds rows 2i and 2i
// + 1.
DL2_INLINE void pack_rows(const Vector r[8], Vector out[4]) {
    Vector a[4];  // columns i and i + 4
    for (int i = 0; i < 4; ++i) a[i] = pack16(r[i], r[i + 4]);
    const Vector b[4] = {low8(a[0], a[1]), high8(a[0], a[1]), low8(a[2], a[3]), high8(a[2], a[3])};
    const Vector left = low16(b[0], b[2]);  // columns 0 to 3 of rows 0 to 3
    const Vector left_below = high16(b[0], b[2]);
    const Vector right = low16(b[1], b[3]);
    const Vector right_below = high16(b[1], b[3]);
    out[0] = low32(left, right);
    out[1] = high32(left, right);
    out[2] = low32(left_below, right_below);
    out[3] = high32(left_below, right_below);
}

#endif
}  // namespace dl2::codec::DL2_CODEC_ISA
