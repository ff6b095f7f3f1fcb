// The DC scans of an image: the only ones in which components are interleaved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "codec/coefficients.hpp"
#include "codec/encode/huffman.hpp"
#include "codec/kernels/encode_kernels.hpp"
#include "dl2/jpeg/scan_script.hpp"

namespace dl2::codec {

// The DC coefficients of each component, side by side in the order of its blocks.
using DcPlanes = const std::int16_t* const*;

// Blocks of a scan, those that only fill up its MCUs included.
std::size_t count_dc_blocks(const Coefficients& image, const Scan& scan);

// Tokens of a first scan into `tokens`, which must hold count_dc_blocks(); their symbols are the
// bit count, and 16 more for the Huffman table 1. Adds to the histogram of each table. False if a
// difference has more bits than JPEG allows.
bool tokenize_dc(const Coefficients& image, DcPlanes dc, const Scan& scan,
                 const std::uint8_t* tables, FirstToken* tokens, Histogram* histograms);

// Writes a refinement, a bit a block, without byte stuffing; returns its end.
std::uint8_t* refine_dc(const Coefficients& image, DcPlanes dc, const Scan& scan,
                        std::uint8_t* out);

}  // namespace dl2::codec
