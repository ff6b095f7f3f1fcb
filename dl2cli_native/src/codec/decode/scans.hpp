// The entropy-coded scans of an image to coefficients: which kernel decodes which scan into what,
// in which order, and whether every scan was what its header promised.
#pragma once

#include <cstdint>

#include "codec/kernels/kernels.hpp"
#include "codec/markers.hpp"
#include "codec/memory.hpp"

namespace dl2::codec {

constexpr std::size_t kPendingScans = 2;  // refinements of a component that are applied together

// What the decoder knows of a component besides its blocks.
struct DecodedPlane {
    std::uint32_t block_rows = 0;  // that were decoded, from the top
    bool has_ac = false;           // else `dc` is all there is, and there are no blocks
    // Of progressive images: the DC coefficients, in rows of whole MCUs. Null: they are in the
    // blocks already.
    std::int16_t* dc = nullptr;
    std::size_t dc_stride = 0;
    // Refinements that are not applied to the blocks yet.
    std::size_t pending = 0;
    RefinedBits refined[kPendingScans] = {};

    // `refined` as it looks from block `first` on.
    void refined_from(std::size_t first, RefinedBits (&out)[kPendingScans]) const;
};

struct DecodedScans {
    DecodedPlane planes[kMaxComponents];
};

enum class DcCheck : std::uint8_t {
    storage,  // DC coefficients must fit their 16 bits
    pixels,   // and the inverse DCT must not overflow with them
};

// Decodes the upper `mcu_rows` rows of MCUs of all scans. Points the components of `jpeg.frame` at
// their blocks, in `memory.coefficients`; `scans` points into both parts of `memory`.
struct ReaderMemory;
Declined decode_scans(ParsedJpeg& jpeg, std::uint32_t mcu_rows, DcCheck check, ReaderMemory& memory,
                      DecodedScans& scans);

}  // namespace dl2::codec
