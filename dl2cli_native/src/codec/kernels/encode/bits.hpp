// Tokens to bits, and the zeros behind each 0xFF (T.81, B.1.1.5).
#pragma once

#include "codec/kernels/bits.hpp"
#include "codec/kernels/encode_kernels.hpp"

namespace dl2::codec::DL2_CODEC_ISA {

DL2_INLINE void store_big_endian(u8* out, u64 word) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    std::memcpy(out, &word, sizeof word);
}

DL2_INLINE void store_little_endian(u8* out, u64 word) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    std::memcpy(out, &word, sizeof word);
}

// At most 7 pending bits, 16 of the code and 14 behind it: a word holds them always.
static u8* emit_first(const FirstToken* token, const FirstToken* end, const u32* codes, u8* out) {
    u64 word = 0;  // the pending bits are its highest
    u32 pending = 0;
    for (; token < end; ++token) {
        const u32 code = codes[*token & 255];
        const u32 extra = (*token >> 8) & 255;
        pending += (code & 255) + extra;
        const u64 bits = (u64{code >> 8} << extra) | (*token >> 16);
        word |= bits << ((64 - pending) & 63);
        store_big_endian(out, word);
        out += pending >> 3;
        word <<= pending & 56;
        pending &= 7;
    }
    if (pending > 0) *out++ = static_cast<u8>((word >> 56) | (0xFFu >> pending));
    return out;
}

DL2_INLINE u64 reverse_bits_of_bytes(u64 word) {
    word = ((word >> 1) & 0x5555555555555555) | ((word & 0x5555555555555555) << 1);
    word = ((word >> 2) & 0x3333333333333333) | ((word & 0x3333333333333333) << 2);
    return ((word >> 4) & 0x0F0F0F0F0F0F0F0F) | ((word & 0x0F0F0F0F0F0F0F0F) << 4);
}

// Written from the lowest bit, and turned round at the end, a byte at a time: so correction bits
// go out as the masks give them. At most 7 pending bits, 16 of the code and 40 behind it.
static u8* emit_refine(const RefineToken* token, const RefineToken* end, const u32* codes,
                       u8* out) {
    u32 reversed[256];
    for (u32 symbol = 0; symbol < 256; ++symbol) {
        const u32 length = codes[symbol] & 255;
        u32 code = 0;
        for (u32 i = 0; i < length; ++i) {
            code |= ((codes[symbol] >> (8 + i)) & 1) << (length - 1 - i);
        }
        reversed[symbol] = (code << 8) | length;
    }
    reversed[kRawBits] = 0;
    u8* const begin = out;
    u64 word = 0;  // the pending bits are its lowest
    u32 pending = 0;
    for (; token < end; ++token) {
        const u32 code = reversed[*token & 255];
        const u32 length = code & 255;
        const u64 bits = (code >> 8) | ((*token >> 16) << length);
        word |= bits << pending;
        store_little_endian(out, word);
        pending += length + ((*token >> 8) & 255);
        out += pending >> 3;
        word >>= pending & 56;
        pending &= 7;
    }
    if (pending > 0) *out++ = static_cast<u8>(word | (0xFFu << pending));
    store_little_endian(out, 0);
    for (u8* at = begin; at < out; at += 8) {  // also of the bytes behind the end
        u64 eight;
        std::memcpy(&eight, at, sizeof eight);
        eight = reverse_bits_of_bytes(eight);
        std::memcpy(at, &eight, sizeof eight);
    }
    return out;
}

#if defined(DL2_CODEC_AVX2) || defined(DL2_CODEC_AVX512)

static u8* stuff(const u8* begin, const u8* end, u8* out) {
    const __m256i ones = _mm256_set1_epi8(-1);
    while (end - begin >= 32) {
        const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(begin));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), bytes);
        const auto hits = static_cast<u32>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, ones)));
        if (__builtin_expect(hits == 0, 1)) {
            begin += 32;
            out += 32;
        } else {
            const u32 copied = _tzcnt_u32(hits) + 1;
            begin += copied;
            out += copied;
            *out++ = 0;
        }
    }
    for (; begin < end; ++begin) {
        *out++ = *begin;
        if (*begin == 0xFF) *out++ = 0;
    }
    return out;
}

#else

static u8* stuff(const u8* begin, const u8* end, u8* out) {
    while (begin < end) {
        const void* hit = std::memchr(begin, 0xFF, static_cast<std::size_t>(end - begin));
        const auto* stop = hit != nullptr ? static_cast<const u8*>(hit) + 1 : end;
        const auto size = static_cast<std::size_t>(stop - begin);
        std::memcpy(out, begin, size);
        out += size;
        if (hit != nullptr) *out++ = 0;
        begin = stop;
    }
    return out;
}

#endif

}  // namespace dl2::codec::DL2_CODEC_ISA
