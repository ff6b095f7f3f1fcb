// Optimal Huffman tables, as T.81 K.2 builds them and libjpeg breaks the ties.
#pragma once

#include <array>
#include <cstdint>

namespace dl2::codec {

using Histogram = std::array<std::uint32_t, 256>;  // how often each symbol occurs

struct HuffmanTable {
    std::array<std::uint8_t, 17> bits{};  // codes of each length, 1..16, as in a DHT segment
    std::array<std::uint8_t, 256> values{};
    std::uint32_t value_count = 0;
    std::array<std::uint32_t, 256> code{};  // code << 8 | length, by symbol; 0 if it has none
};

// False if no table can be made as libjpeg makes it: no symbols, or a code of more than 32 bits
// before the lengths are limited.
bool build_huffman(const Histogram& histogram, HuffmanTable& table);

}  // namespace dl2::codec
