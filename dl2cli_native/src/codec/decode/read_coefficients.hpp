// A JPEG to its quantised coefficients: the native counterpart of jpeg_read_coefficients.
#pragma once

#include "codec/coefficients.hpp"
#include "codec/markers.hpp"
#include "codec/memory.hpp"

namespace dl2::codec {

// Memory that one thread keeps for its images.
struct ReaderMemory {
    Memory coefficients;  // the blocks of the result
    Memory scratch;       // unstuffed scans, bit masks, decoding tables
};

// Decodes all scans of `jpeg` (which `parse` has filled) and points the components of `jpeg.frame`
// at their blocks, which lie in `memory` and hold until it is used again. Every byte of the scans
// is accounted for: a bad code, and a scan that is too short or too long, is declined.
Declined read_coefficients(ParsedJpeg& jpeg, ReaderMemory& memory);

}  // namespace dl2::codec
