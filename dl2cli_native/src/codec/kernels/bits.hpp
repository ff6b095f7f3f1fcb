// Bits and bytes for the loops of this folder: loads, the refill of the bit buffer, the slow way to
// find a Huffman code, and the bit operations that BMI2 has instructions for.
#pragma once

#include <cstring>

#include "codec/kernels/kernels.hpp"

#if defined(DL2_CODEC_AVX512)
#define DL2_CODEC_ISA avx512
#elif defined(DL2_CODEC_AVX2)
#define DL2_CODEC_ISA avx2
#else
#define DL2_CODEC_ISA portable
#endif

#if defined(DL2_CODEC_AVX512) || defined(DL2_CODEC_AVX2)
#define DL2_CODEC_BMI2
#include <immintrin.h>
#endif

#define DL2_INLINE static inline __attribute__((always_inline))
#define DL2_COLD static __attribute__((noinline, cold))
#define DL2_UNLIKELY(x) __builtin_expect(!!(x), 0)

namespace dl2::codec::DL2_CODEC_ISA {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

DL2_INLINE u64 load_little(const u8* at) {
    u64 value;
    std::memcpy(&value, at, sizeof value);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

DL2_INLINE u64 load_big(const u8* at) {
    return __builtin_bswap64(load_little(at));
}

DL2_INLINE u32 ones(u64 mask) {
    return static_cast<u32>(__builtin_popcountll(mask));
}

// The lowest `count` bits, count < 64.
DL2_INLINE u64 low_bits(u64 value, u32 count) {
#if defined(DL2_CODEC_BMI2)
    return _bzhi_u64(value, count);
#else
    return value & ((u64{1} << count) - 1);
#endif
}

// The next bits of `value`, one at each place where `mask` has a 1.
DL2_INLINE u64 deposit(u64 value, u64 mask) {
#if defined(DL2_CODEC_BMI2)
    return _pdep_u64(value, mask);
#else
    u64 result = 0;
    for (; mask != 0; mask &= mask - 1, value >>= 1) {
        if (value & 1) result |= mask & (~mask + 1);
    }
    return result;
#endif
}

// Where in `mask` the 1 number `index` (from 0) is, with `bit` = 1 << index; 64 if it has fewer.
DL2_INLINE u32 place_of(u64 mask, u32 index, u64 bit) {
#if defined(DL2_CODEC_BMI2)
    (void)index;
    return static_cast<u32>(_tzcnt_u64(_pdep_u64(bit, mask)));
#else
    (void)bit;
    for (; index > 0; --index) mask &= mask - 1;
    return mask == 0 ? 64 : static_cast<u32>(__builtin_ctzll(mask));
#endif
}

// ---- The bit buffer. After a refill it holds 56 bits or more. The bits behind `count` are not
// counted, but they are right: a refill writes the same ones again.

// The first bit is the highest.
DL2_INLINE void refill(BitState& bits) {
    bits.buffer |= load_big(bits.at) >> bits.count;
    bits.at += (63 - bits.count) >> 3;
    bits.count |= 56;
}

// The first bit is the lowest (the bytes' bits are reversed).
DL2_INLINE void refill_reversed(BitState& bits) {
    bits.buffer |= load_little(bits.at) << bits.count;
    bits.at += (63 - bits.count) >> 3;
    bits.count |= 56;
}

DL2_INLINE void skip(BitState& bits, u32 length) {
    bits.buffer <<= length;
    bits.count -= length;
}

DL2_INLINE void skip_reversed(BitState& bits, u32 length) {
    bits.buffer >>= length;
    bits.count -= length;
}

// The highest `size` bits as T.81 codes a value: F.2.2.1, EXTEND. size < 32.
DL2_INLINE i32 extend(u64 buffer, u32 size) {
    const u64 value = (buffer >> 1) >> (63 - size);
    const u64 negative = ~static_cast<u64>(static_cast<i64>(buffer) >> 63);
    return static_cast<i32>(static_cast<u32>(value - low_bits(negative, size)));
}

// The code that the highest bits begin with: its symbol, plus its length x 256; 0 if it is none.
DL2_COLD u32 find_code(const SlowTable& table, u64 buffer) {
    for (u32 length = 1; length <= 16; ++length) {
        const u32 code = static_cast<u32>(buffer >> (64 - length));
        if (code < table.code_end[length]) {
            const u32 index = static_cast<u32>(static_cast<i32>(code) + table.offset[length]);
            return table.symbols[index & 255] | length << 8;
        }
    }
    return 0;
}

}  // namespace dl2::codec::DL2_CODEC_ISA
