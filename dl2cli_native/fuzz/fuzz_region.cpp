// Decoding a part of an image on any bytes: an error, or the pixels of the whole image's decoding.
#include <algorithm>
#include <cstdlib>

#include "dl2/error.hpp"
#include "dl2/io/crc32c.hpp"
#include "dl2/jpeg/codec.hpp"
#include "dl2/jpeg/region.hpp"
#include "script.hpp"

namespace {

// Numbers that depend on nothing but the input.
class Draw {
  public:
    explicit Draw(dl2::Bytes input) : state_(dl2::crc32c(input.data, input.size)) {}
    std::uint32_t below(std::uint32_t end) {
        state_ = state_ * 1664525u + 1013904223u;
        return (state_ >> 8) % end;
    }

  private:
    std::uint32_t state_;
};

struct Rows : dl2::RowSink {
    std::size_t width = 0;
    std::vector<std::uint8_t> rgbx;
    void rows(const std::uint8_t* pixels, std::size_t stride, std::uint32_t count) override {
        for (std::uint32_t row = 0; row < count; ++row, pixels += stride) {
            rgbx.insert(rgbx.end(), pixels, pixels + 4 * width);
        }
    }
};

dl2::Region decode_region(const std::vector<dl2::Bytes>& fragments, const dl2::Limits& limits,
                          Draw& draw, Rows& sink) {
    dl2::DecodeMemory memory;
    dl2::RegionDecoder decoder(fragments.data(), fragments.size(), {false, false, limits}, memory);
    dl2::Region region;
    region.x0 = draw.below(decoder.width());
    region.y0 = draw.below(decoder.height());
    region.x1 = region.x0 + 1 + draw.below(decoder.width() - region.x0);
    region.y1 = region.y0 + 1 + draw.below(decoder.height() - region.y0);
    sink.width = region.x1 - region.x0;
    decoder.decode(region, sink);
    return region;
}

// CMYK is converted by us, so that there is nothing to compare it with.
bool same(const dl2::Region& region, const Rows& rows, const dl2::Pixels& whole) {
    if (whole.channels == 4) return true;
    const std::uint8_t* part = rows.rgbx.data();
    for (std::size_t y = region.y0; y < region.y1; ++y) {
        for (std::size_t x = region.x0; x < region.x1; ++x, part += 4) {
            const std::uint8_t* pixel = &whole.samples[(y * whole.width + x) * whole.channels];
            for (std::size_t channel = 0; channel < 3; ++channel) {
                if (part[channel] != pixel[std::min<std::size_t>(channel, whole.channels - 1)]) {
                    return false;
                }
            }
        }
    }
    return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const dl2::Bytes jpeg(data, size);
    Draw draw(jpeg);
    dl2::Limits limits = small_limits();
    try {
        Rows rows;
        decode_region({jpeg}, limits, draw, rows);
    } catch (const dl2::Error&) {
    }
    dl2::Transcoded image;
    try {
        image = dl2::Transcoder({kScript, {}, true, limits}).transcode(jpeg);
    } catch (const dl2::Error&) {
        return 0;
    }
    // What we write has the scans of our script, however many the source may have had.
    limits.max_scan_pixels = limits.max_pixels * limits.max_scans;
    std::vector<dl2::Bytes> fragments;
    const std::size_t groups = 1 + draw.below(static_cast<std::uint32_t>(kScript.size()));
    for (std::size_t group = 0; group < groups; ++group) fragments.push_back(image.fragment(group));
    Rows rows;
    const dl2::Region region = decode_region(fragments, limits, draw, rows);
    if (!same(region, rows, dl2::decode(fragments, {false, false, limits}))) std::abort();
    return 0;
}
