// Decoding a part of an image on any bytes: an error, or the pixels of the whole image's decoding.
#include <algorithm>
#include <cstdlib>

#include "dl2/error.hpp"
#include "dl2/io/crc32c.hpp"
#include "dl2/jpeg/codec.hpp"
#include "dl2/jpeg/region.hpp"
#include "region.hpp"
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

struct Part {
    dl2::Region region;
    std::vector<std::uint8_t> rgb;
};

Part decode_region(const std::vector<dl2::Bytes>& fragments, const dl2::Limits& limits,
                   Draw& draw) {
    dl2::DecodeMemory memory;
    dl2::RegionDecoder decoder(fragments.data(), fragments.size(), {false, false, limits}, memory);
    dl2::Region region;
    region.x0 = draw.below(decoder.width());
    region.y0 = draw.below(decoder.height());
    region.x1 = region.x0 + 1 + draw.below(decoder.width() - region.x0);
    region.y1 = region.y0 + 1 + draw.below(decoder.height() - region.y0);
    dl2_test::CollectRgb sink(region);
    decoder.decode(region, sink);
    return {region, std::move(sink.pixels)};
}

// dl2 converts CMYK itself, so for CMYK there is nothing to compare with.
bool same(const Part& part, const dl2::Pixels& whole) {
    const dl2::Region& region = part.region;
    if (whole.channels == 4) return true;
    const std::uint8_t* at = part.rgb.data();
    for (std::size_t y = region.y0; y < region.y1; ++y) {
        for (std::size_t x = region.x0; x < region.x1; ++x, at += 3) {
            const std::uint8_t* pixel = &whole.samples[(y * whole.width + x) * whole.channels];
            for (std::size_t channel = 0; channel < 3; ++channel) {
                if (at[channel] != pixel[std::min<std::size_t>(channel, whole.channels - 1)]) {
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
        decode_region({jpeg}, limits, draw);
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
    const Part part = decode_region(fragments, limits, draw);
    if (!same(part, dl2::decode(fragments, {false, false, limits}))) std::abort();
    return 0;
}
