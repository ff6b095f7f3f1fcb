// The marker segments of a plain JPEG, read for the native codec: frame, tables, scans. Source:
// ITU-T T.81, annex B. At the first thing that is in any doubt it leaves the image to libjpeg,
// which knows what to show or say.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "codec/coefficients.hpp"
#include "dl2/io/bytes.hpp"

namespace dl2::codec {

// Why the native codec leaves an image to libjpeg, as a string literal; null if it does not.
using Declined = const char*;

// A Huffman table as DHT gives it: the number of codes of each length, and their symbols.
struct HuffmanSpec {
    std::uint8_t counts[17] = {};  // counts[n]: codes of n bits; counts[0] is 0
    std::uint8_t symbols[256] = {};
    bool defined = false;

    std::uint32_t symbol_count() const;
};

// One scan: its header, the tables that hold for it, and its entropy-coded bytes.
struct ScanHeader {
    std::uint32_t component_count = 0;
    std::array<std::uint8_t, kMaxComponents> components{};  // indices into the frame's components
    // Indices into ParsedJpeg::tables; kNoTable where the scan needs none.
    std::array<std::uint16_t, kMaxComponents> dc_table{};
    std::array<std::uint16_t, kMaxComponents> ac_table{};
    std::uint8_t ss = 0;  // spectral selection, first and last coefficient in zigzag order
    std::uint8_t se = 63;
    std::uint8_t ah = 0;  // successive approximation, previous and this bit position
    std::uint8_t al = 0;
    std::uint32_t restart_interval = 0;  // in MCUs; 0 for none
    Bytes data;  // entropy-coded, stuffed, with restart markers; without the marker that ends it

    bool interleaved() const { return component_count > 1; }
};

constexpr std::uint16_t kNoTable = 0xFFFF;

// What the colours of the components are, as libjpeg guesses it.
enum class ColorSpace : std::uint8_t { gray, ycbcr, rgb, cmyk, ycck };

// A segment to keep: an APPn or COM marker with its payload.
struct Segment {
    std::uint8_t marker = 0;
    Bytes payload;
};

struct ParsedJpeg {
    bool progressive = false;
    Coefficients frame;  // everything but the blocks' memory
    ColorSpace color = ColorSpace::gray;
    std::vector<ScanHeader> scans;
    std::vector<HuffmanSpec> tables;  // every table that a scan uses, in order of definition
    bool end_marker = false;          // EOI was met
    // APP0 (JFIF) and APP14 (Adobe) as libjpeg keeps them.
    bool jfif = false;
    std::uint8_t jfif_version[2] = {1, 1};
    std::uint8_t density_unit = 0;
    std::uint16_t density_x = 1;
    std::uint16_t density_y = 1;
    bool adobe = false;
    std::uint8_t adobe_transform = 0;
    std::vector<Segment> segments;  // all APPn and COM, in the file's order

    void clear();  // keeps the vectors' memory
};

// Reads the markers of an image that lies in `count` pieces; markers and scans do not cross from
// one into the next. `jpeg` points into the pieces. Checks everything that libjpeg would refuse or
// warn of in headers: sizes, sampling, tables, the progression of the scans, limits.
Declined parse(const Bytes* fragments, std::size_t count, const Limits& limits, ParsedJpeg& jpeg);

}  // namespace dl2::codec
