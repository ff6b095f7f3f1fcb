// The codec's inner loops, compiled once for each instruction set, and the plain structures that
// they share with the code around them. The files of this folder know nothing else of dl2.
//
// portable.cpp, avx2.cpp and avx512.cpp compile the same headers, each in a namespace of its own
// and with its own compiler flags. Code for one instruction set must never be merged with code for
// another by the linker, so these headers use no inline function of the standard library and
// define none outside that namespace.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dl2::codec {

// ---- Huffman decoding tables (built by tables.cpp)

constexpr unsigned kFirstBits = 11;   // of a lookup in a first or sequential AC scan
constexpr unsigned kDcBits = 10;      // in a DC scan
constexpr unsigned kRefineBits = 10;  // in a refinement scan

// Codes of any length, found one length after the other: T.81, F.2.2.3.
struct SlowTable {
    std::uint32_t code_end[17];  // behind the last code of each length; codes of a shorter length,
                                 // continued, lie below all codes of a longer one
    std::int32_t offset[17];     // index of a symbol minus its code
    std::uint8_t symbols[256];
};

// A lookup gives the next symbols *with their values*: one, two, or two and the end of the block.
//   bits 0-5    length of all codes and values together
//   bit  6      the block ends here
//   bits 8-15   how far the position moves
//   bits 16-23  where the first value goes, from the position
//   bits 24-31  what the position must have room for; kSpecial: decode a single symbol instead
//   bits 32-47, 48-63  the two values; a single value comes twice
// A special entry holds that single symbol in its upper half, 0 where the code is longer:
//   bits 0-7 length, 8-15 symbol, 16-23 number of bits of its value, 24-31 length of the code
struct FirstTable {
    std::uint64_t pairs[1 << kFirstBits];
    SlowTable slow;
};
constexpr std::uint64_t kSpecial = 200;

// bits 0-7 length of code and value, 16-23 of the value, 24-31 of the code; 0: a longer code
struct DcTable {
    std::uint32_t entries[1 << kDcBits];
    SlowTable slow;
};

// Indexed by bits in reverse, the first the lowest. 0: a longer code, or a bad one. Else
//   bits 0-7    length of the code and its sign, or number of blocks
//   bit  8      a new coefficient
//   bit  9      the end of the block, or of several
//   bits 10-13  the run
//   bit  16 + run
constexpr std::uint32_t kRefineFresh = 1u << 8;
constexpr std::uint32_t kRefineEnd = 1u << 9;

// The entry of a symbol with a code of `length` bits; 0 if refinement scans have no such symbol.
static inline std::uint32_t refine_entry(std::uint32_t symbol, std::uint32_t length) {
    const std::uint32_t run = symbol >> 4;
    const std::uint32_t size = symbol & 15;
    if (size > 1) return 0;
    if (size == 1) return (length + 1) | kRefineFresh | run << 10 | 1u << (16 + run);
    if (run == 15) return length | run << 10 | 1u << (16 + run);
    return (length + run) | kRefineEnd | run << 10;
}

struct RefineTable {
    std::uint32_t entries[1 << kRefineBits];
    SlowTable slow;
};

// ---- Bits

// Entropy-coded bytes without stuffing; behind them, kPadding more can be read.
struct BitSource {
    const std::uint8_t* begin;
    std::size_t size;
};
constexpr std::size_t kPadding = 384;  // a block takes at most 64 x 31 bits

// Where a decoder stands. It may run past the end of its source, a little: whoever started it
// compares `consumed` with the source's size.
struct BitState {
    std::uint64_t buffer;  // the next bits, `count` of them for sure
    std::uint32_t count;
    const std::uint8_t* at;
    const std::uint8_t* limit;  // a reader that gets here has left its source
};

// ---- Jobs: a scan, or one of its restart intervals

// The first scan of a band of one component.
struct FirstJob {
    BitState bits;
    std::int16_t* block;  // the next; all are zero in the band before
    std::int16_t* end;
    const FirstTable* table;
    std::uint64_t position;  // in the block
    std::uint64_t ss, stop;  // the band: [ss, stop)
    std::uint32_t al;
    bool bad;
};

// A refinement scan of a band of one component. It touches no coefficients, only a bit of each.
struct RefineJob {
    BitState bits;             // in reverse order: the first bit of a byte is its lowest
    std::uint64_t* nonzero;    // for each block: which coefficients are not zero; updated
    std::uint64_t* fresh;      // out: which became 1 or -1 at this bit's position
    std::uint64_t* negative;   // out: which of these are negative
    std::uint64_t* corrected;  // out: which of the others grow by a bit
    std::size_t block, count;  // the next, and how many there are
    const RefineTable* table;
    std::uint64_t band;  // ss to se as bits
    std::uint32_t ss, se;
    bool bad;
    // The block that is being decoded: its coefficients in the band that were zero before, and
    // those that were not; what the scan has said of them; the next position.
    std::uint64_t zeros, history;
    std::uint64_t now_fresh, now_negative, now_corrected;
    std::uint32_t position;
};

// The place of a block in an MCU.
struct McuBlock {
    std::int16_t* out;    // the block of this MCU
    std::ptrdiff_t step;  // from there to the block of the next MCU
    const DcTable* dc;
    const FirstTable* ac;
    std::uint32_t component;
    std::uint32_t dc_limit;  // of the absolute value
};

// A run of MCUs of a scan with DC coefficients: of a progressive one, where each block's `out` is
// one number, or of a sequential one, where it is the block.
struct McuJob {
    BitState bits;
    McuBlock blocks[10];
    std::uint32_t block_count;
    std::int32_t prediction[4];
    std::uint32_t al;
    bool extreme;  // a DC coefficient was beyond its limit
    bool bad;
};

// The refinement scans that a row of blocks has had, to be applied to its coefficients.
struct RefinedBits {
    const std::uint64_t* fresh;
    const std::uint64_t* negative;
    const std::uint64_t* corrected;
    std::uint32_t al;
};

// ---- The loops

struct EntropyKernels {
    // The offset of the first 0xFF that is followed by anything but 0, or by nothing; else `size`.
    std::size_t (*find_marker)(const std::uint8_t* bytes, std::size_t size);
    // Copies entropy-coded bytes without the stuffing. Stops behind `from + size`, or at an 0xFF
    // that is followed by anything but 0: returns where in `from`, and in `used` how many bytes
    // were written. `to` has room for size + kPadding.
    std::size_t (*unstuff)(const std::uint8_t* from, std::size_t size, std::uint8_t* to,
                           std::size_t* used);
    void (*reverse_bits)(std::uint8_t* bytes, std::size_t size);  // writes up to 31 bytes more

    void (*dc_first)(McuJob& job, std::size_t mcus);
    void (*dc_refine)(McuJob& job, std::size_t mcus);
    void (*sequential)(McuJob& job, std::size_t mcus);

    void (*first)(FirstJob& job);
    void (*first_pair)(FirstJob& a, FirstJob& b);  // until one of the two is done
    void (*refine)(RefineJob& job);
    void (*refine_pair)(RefineJob& a, RefineJob& b);
    void (*refine_start)(RefineJob& job);

    void (*find_nonzero)(const std::int16_t* blocks, std::size_t count, std::uint64_t* masks);
    // `dc`, where not null, becomes the first coefficient of each block.
    void (*apply)(std::int16_t* blocks, std::size_t count, const RefinedBits* refined,
                  std::size_t scans, const std::int16_t* dc);
};

struct PixelKernels {
    // Inverse DCT (libjpeg's islow) of `count` blocks that lie side by side; `quant` in natural
    // order. Works on four blocks at a time: reads and writes up to three blocks more.
    void (*idct)(const std::int16_t* blocks, std::size_t count, const std::uint16_t* quant,
                 std::uint8_t* out, std::size_t stride);
    // The same where only the DC coefficients are known.
    void (*idct_dc)(const std::int16_t* dc, std::size_t count, std::uint32_t quant,
                    std::uint8_t* out, std::size_t stride);

    // libjpeg's fancy upsampling of a row. The samples before the first and behind the last are
    // read, too. `near` and `far` are the two rows that an output row lies between. These and the
    // conversions work on 64 samples at a time: they read and write up to 63 more.
    void (*h2v1)(const std::uint8_t* in, std::size_t in_count, std::uint8_t* out);
    void (*h2v2)(const std::uint8_t* near, const std::uint8_t* far, std::size_t in_count,
                 std::uint8_t* out);
    void (*h1v2)(const std::uint8_t* near, const std::uint8_t* far, std::size_t count, bool lower,
                 std::uint8_t* out);

    void (*ycc_to_rgbx)(const std::uint8_t* y, const std::uint8_t* cb, const std::uint8_t* cr,
                        std::size_t count, std::uint8_t* out);
};

const EntropyKernels& portable_entropy_kernels();
const PixelKernels& portable_pixel_kernels();
#if defined(__x86_64__)
const EntropyKernels& avx2_entropy_kernels();
const PixelKernels& avx2_pixel_kernels();
const EntropyKernels& avx512_entropy_kernels();
const PixelKernels& avx512_pixel_kernels();
#endif

// Those of the path in use (cpu.hpp).
const EntropyKernels& entropy_kernels();
const PixelKernels& pixel_kernels();

}  // namespace dl2::codec
