// Decoding a part of an image: the fragments of an image and a box in, rows of RGBX out. Each pixel
// is exactly the one that a decoding of the whole image gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

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

// One image. Gray becomes RGB by repetition; CMYK and YCCK are taken as Adobe writes them
// (inverted) and become RGB as Pillow's convert("RGB") does it.
class RegionDecoder {
  public:
    // Reads the header. `fragments` must outlive the decoder. Throws Error(data).
    RegionDecoder(const Bytes* fragments, std::size_t count, const DecodeOptions& options);
    ~RegionDecoder();
    RegionDecoder(const RegionDecoder&) = delete;
    RegionDecoder& operator=(const RegionDecoder&) = delete;

    std::uint32_t width() const;
    std::uint32_t height() const;

    // Decodes a region that lies within the image; once only. `buffer` is working memory. Throws
    // Error(data) for a damaged image.
    void decode(const Region& region, RowSink& sink, std::vector<std::uint8_t>& buffer);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace dl2
