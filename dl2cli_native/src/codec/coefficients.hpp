// The quantised DCT coefficients of an image: what the decoder reads and the encoder writes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "codec/memory.hpp"

namespace dl2::codec {

using Coefficient = std::int16_t;

constexpr std::size_t kBlockSize = 64;
constexpr std::size_t kMaxComponents = 4;

// The natural (row by row) index of each coefficient in zigzag order. T.81, figure A.6.
inline constexpr std::uint8_t kNaturalOrder[kBlockSize] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

// One component. Its blocks lie row by row without gaps. The blocks that only fill up the MCUs of
// interleaved scans (T.81, A.2.4) are not stored here: a decoder forgets them, and an encoder makes
// its own. A block is 64 coefficients in ZIGZAG order, aligned to 64 bytes: scans code them in this
// order, and the inverse DCT reorders them while it loads them.
struct Component {
    std::uint8_t id = 0;
    std::uint8_t h = 1;  // sampling factors
    std::uint8_t v = 1;
    std::uint32_t blocks_x = 0;            // ceil(samples_x / 8)
    std::uint32_t blocks_y = 0;            // ceil(samples_y / 8)
    std::uint32_t samples_x = 0;           // ceil(width x h / max_h)
    std::uint32_t samples_y = 0;           // ceil(height x v / max_v)
    std::uint16_t quant[kBlockSize] = {};  // the quantisation table, in zigzag order
    Coefficient* blocks = nullptr;         // blocks_x x blocks_y x 64

    std::size_t block_count() const { return std::size_t{blocks_x} * blocks_y; }
    Coefficient* block(std::size_t x, std::size_t y) const {
        return blocks + (y * blocks_x + x) * kBlockSize;
    }
};

struct Coefficients {
    std::uint32_t width = 0;
    std::uint32_t height = 0;
    std::uint32_t component_count = 0;
    std::uint32_t max_h = 1;
    std::uint32_t max_v = 1;
    std::uint32_t mcus_x = 0;  // of an interleaved scan: ceil(width / (8 x max_h))
    std::uint32_t mcus_y = 0;
    Component components[kMaxComponents];
};

}  // namespace dl2::codec
