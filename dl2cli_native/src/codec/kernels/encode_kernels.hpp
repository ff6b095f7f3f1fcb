// The encoder's inner loops, compiled once for each instruction set as kernels.hpp says, and what
// they share with the code around them: what an AC scan consists of before it is bits. A token is a
// Huffman symbol and the bits behind it, so that one pass over the coefficients serves both the
// statistics of the optimal tables and the output.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dl2::codec {

// A token of a first scan (Ah = 0): symbol | bit count << 8 | bits << 16. The highest bit is
// written first.
using FirstToken = std::uint32_t;

// A token of a refinement has the same layout, but its lowest bit (of at most 48) is written first:
// correction bits are gathered from masks, whose lowest bit is the first coefficient.
using RefineToken = std::uint64_t;

constexpr std::uint32_t kZeroRunSymbol = 0xF0;  // ZRL: sixteen zeros
constexpr std::uint32_t kRawBits = 0x02;        // in a RefineToken: bits without a symbol
constexpr std::uint32_t kMaxEndOfBlockRun = 0x7FFF;
// libjpeg buffers 1000 correction bits, and ends a run of blocks where 63 more might not fit.
constexpr std::uint32_t kMaxRunCorrections = 937;
// Correction bits behind a symbol: with its sign bit, a code of 16 bits, and the 7 bits that the
// writer may hold back, they are less than a word.
constexpr std::uint32_t kMaxSymbolCorrections = 39;

// The most tokens that a block has, and how many a kernel may write behind the last one.
constexpr std::size_t kMaxBlockTokens = 72;
constexpr std::size_t kTokenSlack = 64;

constexpr std::size_t kChunkBlocks =
    64;  // blocks that the kernels take at a time: 8 KiB, and masks
constexpr unsigned kMaxBitPosition = 10;  // libjpeg's limit for samples of 8 bits; T.81 says 13

// Masks of a chunk of blocks: bit k of a mask is coefficient k in zigzag order.
struct BitPlanes {
    alignas(64) std::uint64_t negative[kChunkBlocks];
    // [p]: the magnitude shifted right by p is not zero, for p up to `top`.
    alignas(64) std::uint64_t nonzero[kMaxBitPosition + 1][kChunkBlocks];
    // [p]: bit p of the magnitude, for p below `top`.
    alignas(64) std::uint64_t bit[kMaxBitPosition + 1][kChunkBlocks];
};

// The state of a scan between two chunks. Its tokens are [begin, out), with room for more.
struct FirstScan {
    std::uint64_t band = 0;  // Ss..Se
    std::uint32_t ss = 0;
    std::uint32_t se = 0;
    std::uint32_t al = 0;
    std::uint32_t run = 0;  // blocks whose end is not written yet
    FirstToken* begin = nullptr;
    FirstToken* out = nullptr;
};

struct RefineScan {
    std::uint64_t band = 0;
    std::uint32_t ss = 0;
    std::uint32_t se = 0;
    std::uint32_t al = 0;
    std::uint32_t run = 0;
    std::uint32_t run_corrections = 0;
    std::size_t run_token = 0;  // where the run's token belongs: in front of its corrections
    RefineToken* begin = nullptr;
    RefineToken* out = nullptr;
};

// The kernels of one instruction set. All sets give the same tokens and the same bytes.
struct EncodeKernels {
    // Fills the masks of `count` blocks, for bit positions up to `top`; returns the bits that occur
    // in any AC magnitude. `dc` receives the first coefficient of each block.
    std::uint32_t (*planes)(const std::int16_t* blocks, std::size_t count, unsigned top,
                            BitPlanes& masks, std::int16_t* dc);
    void (*first)(const std::int16_t* blocks, const BitPlanes& masks, std::size_t count,
                  FirstScan& scan);
    void (*refine)(const BitPlanes& masks, std::size_t count, RefineScan& scan);
    // Tells the run of blocks that has not ended yet, behind the last block.
    void (*end_first)(FirstScan& scan);
    void (*end_refine)(RefineScan& scan);
    // Writes tokens as bits, the last byte filled up with ones and without byte stuffing; `codes`
    // has a symbol's code << 8 | length. May write 8 bytes behind the end, which it returns.
    std::uint8_t* (*emit_first)(const FirstToken* begin, const FirstToken* end,
                                const std::uint32_t* codes, std::uint8_t* out);
    std::uint8_t* (*emit_refine)(const RefineToken* begin, const RefineToken* end,
                                 const std::uint32_t* codes, std::uint8_t* out);
    // Copies bytes with a zero behind each 0xFF; may write 64 bytes behind the end.
    std::uint8_t* (*stuff)(const std::uint8_t* begin, const std::uint8_t* end, std::uint8_t* out);
};

const EncodeKernels& portable_encode_kernels();
#if defined(__x86_64__)
const EncodeKernels& avx2_encode_kernels();
const EncodeKernels& avx512_encode_kernels();
#endif

// Those of the path in use (cpu.hpp).
const EncodeKernels& encode_kernels();

}  // namespace dl2::codec
