// The native decoder of an image: fragments and a region in, pixels out, or the reason why libjpeg
// must do it.
#pragma once

#include "codec/decode/read_coefficients.hpp"
#include "codec/markers.hpp"
#include "dl2/jpeg/region.hpp"

namespace dl2::codec {

// Memory that a thread keeps from image to image.
struct DecoderMemory {
    ParsedJpeg jpeg;
    ReaderMemory reader;
    Memory pixels;
};

// Reads the headers. `memory` must outlive the decoder, and serves one decoder at a time.
class NativeDecoder {
  public:
    explicit NativeDecoder(DecoderMemory& memory) : memory_(memory) {}

    // Reads the headers of an image of this size. `whole_file` as in DecodeOptions.
    Declined open(const Bytes* fragments, std::size_t count, bool whole_file, const Limits& limits);

    bool cmyk() const { return memory_.jpeg.frame.component_count == 4; }
    std::uint32_t width() const { return memory_.jpeg.frame.width; }
    std::uint32_t height() const { return memory_.jpeg.frame.height; }
    std::uint32_t components() const { return memory_.jpeg.frame.component_count; }

    // Decodes a region that lies within the image; once only. Before the first row goes to `sink`
    // the scans are known to be sound as far down as libjpeg would read them.
    Declined decode(const Region& region, std::uint32_t scale, RowSink& sink);

  private:
    DecoderMemory& memory_;
};

}  // namespace dl2::codec
