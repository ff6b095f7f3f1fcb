// A JPEG's markers, read without libjpeg: the frame header, the quantisation tables, the EXIF
// orientation, and where each scan begins. Source: ITU-T T.81, annex B; EXIF 2.3, section 4.6.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "dl2/io/bytes.hpp"

namespace dl2 {

struct JpegComponent {
    std::uint8_t id = 0;
    std::uint8_t h = 1;  // sampling factors, 1..4
    std::uint8_t v = 1;
    std::uint8_t quant_table = 0;  // its number
};

struct QuantTable {
    bool defined = false;
    std::array<std::uint16_t, 64> steps{};  // row by row
};

struct JpegHeader {
    std::uint16_t width = 0;
    std::uint16_t height = 0;
    std::uint8_t precision = 8;  // bits a sample
    std::uint8_t frame = 0;      // the low nibble of the SOF marker: 0 baseline, 2 progressive ...
    std::uint8_t component_count = 0;
    std::array<JpegComponent, 4> components{};
    std::uint8_t orientation = 1;              // EXIF, 1..8
    std::size_t first_scan = 0;                // offset of the first SOS marker
    std::array<QuantTable, 4> quant_tables{};  // those in front of the first scan
    std::size_t exif_begin =
        0;                     // offsets of the first EXIF payload ("Exif" and two zeros included)
    std::size_t exif_end = 0;  // 0 if there is none
    bool icc = false;          // a colour profile, or a piece of one

    bool lossless() const { return frame == 3 || frame == 11; }
    bool arithmetic() const { return frame >= 9; }
    bool progressive() const { return frame == 2 || frame == 10; }
};

// True if the bytes begin as every JPEG does.
bool looks_like_jpeg(Bytes bytes);

// Reads up to the first scan. Throws Error(data) with the reason if the markers lie, or if what
// they promise exceeds `limits`.
JpegHeader read_jpeg_header(Bytes jpeg, const Limits& limits);

// As above, from the beginning of a file, and without limits. Nothing if the bytes end before the
// first scan begins. Throws Error(data) if the markers lie.
std::optional<JpegHeader> peek_jpeg_header(Bytes beginning);

// The colour profile in front of the first scan, put together; empty if there is none, or if pieces
// are missing. Throws Error(data) if the markers lie.
std::vector<std::uint8_t> read_icc_profile(Bytes jpeg);

// What follows the header of a JPEG.
struct JpegScans {
    std::uint32_t count = 0;
    bool ended = false;              // there is an end marker
    std::size_t trailing_bytes = 0;  // behind it
};

// Counts the scans of a whole file; damage only ends the count early.
JpegScans survey_scans(Bytes jpeg);

// Offsets of the parts of a JPEG: scan i is [offset[i], offset[i + 1]), the first with the file's
// header, each with the tables in front of it; the last offset is the end of the last scan
// (the EOI marker). Throws Error(data) for more than `max_scans` scans or a missing EOI.
std::vector<std::size_t> find_scans(Bytes jpeg, std::uint32_t max_scans);

}  // namespace dl2
