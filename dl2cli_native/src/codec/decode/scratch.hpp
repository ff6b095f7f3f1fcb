// The working memory of one image's decoding, and what its parts share.
#pragma once

#include <cstdint>

#include "codec/decode/scans.hpp"
#include "codec/kernels/kernels.hpp"
#include "codec/markers.hpp"

namespace dl2::codec {

// Scans of AC coefficients that are decoded in turn in one loop.
constexpr std::size_t kLanes = 2;

// What a refinement scan writes: a mask for each block.
struct MaskArrays {
    std::uint64_t* fresh = nullptr;
    std::uint64_t* negative = nullptr;
    std::uint64_t* corrected = nullptr;
};

struct Scratch {
    std::uint8_t* bytes[kLanes] = {};  // a scan without its stuffing
    DcTable* dc_tables = nullptr;      // one for each component of a scan
    FirstTable* first_tables = nullptr;
    RefineTable* refine_tables = nullptr;  // one for each lane
    Coefficient* spare_block = nullptr;    // where blocks go that nobody wants
    std::uint64_t* nonzero[kMaxComponents] = {};
    MaskArrays masks[kMaxComponents][kPendingScans] = {};
};

struct DecodeContext {
    const ParsedJpeg& jpeg;
    std::uint32_t mcu_rows;  // how far down to decode
    DcCheck check;
    const EntropyKernels& kernels;
    Scratch scratch;
    DecodedScans& scans;
};

}  // namespace dl2::codec
