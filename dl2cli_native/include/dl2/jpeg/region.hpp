// Decoding a part of an image: the fragments of an image and a box in, rows of RGBX out. Each pixel
// is exactly the one that a decoding of the whole image gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "dl2/io/bytes.hpp"
#include "dl2/jpeg/codec.hpp"

namespace dl2 {

// Columns [x0, x1) and rows [y0, y1) of an image.
struct Region {
    std::uint32_t x0 = 0;
    std::uint32_t y0 = 0;
    std::uint32_t x1 = 0;
    std::uint32_t y1 = 0;
};

// Takes the rows of a region from top to bottom, a few at a time.
class RowSink {
  public:
    virtual ~RowSink() = default;
    // `rgbx` points at the region's first column; 4 bytes a pixel, the fourth means nothing.
    virtual void rows(const std::uint8_t* rgbx, std::size_t stride, std::uint32_t count) = 0;
};

// Memory that a thread keeps from one image to the next. What an image leaves in it never reaches
// another one.
class DecodeMemory {
  public:
    DecodeMemory();
    ~DecodeMemory();
    DecodeMemory(const DecodeMemory&) = delete;
    DecodeMemory& operator=(const DecodeMemory&) = delete;

    struct Parts;
    Parts& parts() { return *parts_; }

  private:
    std::unique_ptr<Parts> parts_;
};

// The pixels of a side of an image that is shown at 1 / scale of its size.
constexpr std::uint32_t scaled_size(std::uint32_t size, std::uint32_t scale) {
    return (size + scale - 1) / scale;
}

// One image. Gray becomes RGB by repetition; CMYK and YCCK are taken as Adobe writes them
// (inverted) and become RGB as Pillow's convert("RGB") does it.
class RegionDecoder {
  public:
    // Reads the header. `fragments` and `memory` must outlive the decoder, and `memory` serves one
    // decoder at a time. Throws Error(data).
    RegionDecoder(const Bytes* fragments, std::size_t count, const DecodeOptions& options,
                  DecodeMemory& memory);
    ~RegionDecoder();
    RegionDecoder(const RegionDecoder&) = delete;
    RegionDecoder& operator=(const RegionDecoder&) = delete;

    std::uint32_t width() const;
    std::uint32_t height() const;

    // Decodes a region that lies within the image; once only. With a `scale` of 2, 4 or 8 the image
    // is shown at 1 / scale of its size, which libjpeg's smaller inverse DCTs do: `region` is one
    // of the image of scaled_size(width(), scale) x scaled_size(height(), scale) pixels. Throws
    // Error(data) for a damaged image.
    void decode(const Region& region, RowSink& sink, std::uint32_t scale = 1);

    // Whether the native codec decodes, or decoded, the image; libjpeg does otherwise.
    bool native() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace dl2
