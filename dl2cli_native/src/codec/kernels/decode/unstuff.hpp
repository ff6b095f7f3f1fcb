// Entropy-coded bytes without the zeros that are stuffed behind each 0xFF (T.81, B.1.1.5), and the
// reversal of their bits for refinement scans.
#pragma once

#include "codec/kernels/bits.hpp"

namespace dl2::codec::DL2_CODEC_ISA {

// Copies up to and with the next 0xFF; returns the number of bytes copied.
DL2_INLINE std::size_t copy_to_marker(const u8* from, std::size_t size, u8* to) {
    std::size_t at = 0;
#if defined(DL2_CODEC_AVX2) || defined(DL2_CODEC_AVX512)
    const __m256i marker = _mm256_set1_epi8(-1);
    for (; at + 32 <= size; at += 32) {
        const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + at));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + at), bytes);
        const u32 found = static_cast<u32>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, marker)));
        if (found != 0) return at + _tzcnt_u32(found) + 1;
    }
#endif
    const void* const hit = std::memchr(from + at, 0xFF, size - at);
    const std::size_t end =
        hit == nullptr ? size : static_cast<std::size_t>(static_cast<const u8*>(hit) - from) + 1;
    std::memcpy(to + at, from + at, end - at);
    return end;
}

// The offset of the first 0xFF that is followed by anything but 0, or by nothing; else `size`.
static std::size_t find_marker(const u8* bytes, std::size_t size) {
    std::size_t at = 0;
#if defined(DL2_CODEC_AVX2) || defined(DL2_CODEC_AVX512)
    const __m256i marker = _mm256_set1_epi8(-1);
    const __m256i zero = _mm256_setzero_si256();
    for (; at + 33 <= size; at += 32) {
        const __m256i here = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + at));
        const __m256i next = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + at + 1));
        const __m256i found =
            _mm256_andnot_si256(_mm256_cmpeq_epi8(next, zero), _mm256_cmpeq_epi8(here, marker));
        const u32 places = static_cast<u32>(_mm256_movemask_epi8(found));
        if (places != 0) return at + _tzcnt_u32(places);
    }
#endif
    while (at < size) {
        const void* const hit = std::memchr(bytes + at, 0xFF, size - at);
        if (hit == nullptr) return size;
        at = static_cast<std::size_t>(static_cast<const u8*>(hit) - bytes);
        if (at + 1 == size || bytes[at + 1] != 0) return at;
        at += 2;
    }
    return size;
}

static std::size_t unstuff(const u8* from, std::size_t size, u8* to, std::size_t* used) {
    std::size_t at = 0;
    u8* out = to;
    while (at < size) {
        const std::size_t copied = copy_to_marker(from + at, size - at, out);
        at += copied;
        out += copied;
        if (out[-1] != 0xFF) break;  // the end
        if (at == size || from[at] != 0) {
            --at;
            --out;
            break;
        }
        ++at;
    }
    *used = static_cast<std::size_t>(out - to);
    return at;
}

static void reverse_bits(u8* bytes, std::size_t size) {
#if defined(DL2_CODEC_AVX2) || defined(DL2_CODEC_AVX512)
    const __m256i low = _mm256_set1_epi8(15);
    // Each half of a byte in reverse, as the low half and as the high half of the result.
    const __m256i to_low = _mm256_setr_epi8(0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15, 0,
                                            8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15);
    const __m256i to_high = _mm256_slli_epi16(to_low, 4);
    for (std::size_t at = 0; at < size; at += 32) {
        const __m256i in = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + at));
        const __m256i high = _mm256_shuffle_epi8(to_high, _mm256_and_si256(in, low));
        const __m256i rest = _mm256_and_si256(_mm256_srli_epi16(in, 4), low);
        const __m256i out = _mm256_or_si256(high, _mm256_shuffle_epi8(to_low, rest));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes + at), out);
    }
#else
    for (std::size_t at = 0; at < size; at += 8) {
        u64 in;
        std::memcpy(&in, bytes + at, sizeof in);
        in = ((in >> 1) & 0x5555555555555555) | ((in & 0x5555555555555555) << 1);
        in = ((in >> 2) & 0x3333333333333333) | ((in & 0x3333333333333333) << 2);
        in = ((in >> 4) & 0x0F0F0F0F0F0F0F0F) | ((in & 0x0F0F0F0F0F0F0F0F) << 4);
        std::memcpy(bytes + at, &in, sizeof in);
    }
#endif
}

}  // namespace dl2::codec::DL2_CODEC_ISA
