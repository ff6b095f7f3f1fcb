// Reads a single AC symbol, where a lookup cannot give two at once.
#pragma once

#include "codec/kernels/bits.hpp"

namespace dl2::codec::DL2_CODEC_ISA {

// No encoder writes a value with more bits than this (shifted to its place), and libjpeg would let
// it overflow.
constexpr u32 kMaxValueBits = 14;
constexpr u32 kZeroRunLength =
    15;  // the run in the symbol ZRL (0xF0), which stands for sixteen zeros

struct Symbol {
    u32 run;
    u32 size;        // bits of the value; 0: an end of blocks, or a run of sixteen zeros
    u64 value_bits;  // the buffer behind the code
    bool found;
};

// Takes the next code and the bits of its value from a full buffer. `entry` is the lookup's result.
DL2_INLINE Symbol take_symbol(BitState& bits, u64 entry, const SlowTable& slow) {
    u32 code = static_cast<u32>(entry >> 32);
    if (DL2_UNLIKELY(((entry >> 24) & 255) != kSpecial || code == 0)) {
        const u32 found = find_code(slow, bits.buffer);
        const u32 symbol = found & 255;
        const u32 run = symbol >> 4;
        const u32 size = (symbol & 15) == 0 && run != kZeroRunLength ? run : symbol & 15;
        const u32 length = found >> 8;
        code = found == 0 ? 0 : (length + size) | symbol << 8 | size << 16 | length << 24;
    }
    const Symbol symbol{(code >> 12) & 15, (code >> 8) & 15, bits.buffer << (code >> 24),
                        code != 0};
    skip(bits, code & 63);
    return symbol;
}

}  // namespace dl2::codec::DL2_CODEC_ISA
