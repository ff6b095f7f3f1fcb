#include "codec/native_decoder.hpp"

#include <algorithm>

#include "codec/cpu.hpp"
#include "codec/decode/pixels.hpp"
#include "codec/decode/scans.hpp"

namespace dl2::codec {
namespace {

// How far below a region jpeg/region.cpp lets libjpeg decode. The same rows are decoded here, so
// that the same damage is found.
constexpr std::uint32_t kMargin = 8;

}  // namespace

Declined NativeDecoder::open(const Bytes* fragments, std::size_t count, bool whole_file,
                             const Limits& limits) {
    const ParsedJpeg& jpeg = memory_.jpeg;
    if (!decoding_pays()) return "a processor on which libjpeg is faster";
    if (const Declined reason = parse(fragments, count, limits, memory_.jpeg)) return reason;
    if (whole_file && !jpeg.end_marker) return "a file without an end marker";
    if (!can_upsample(jpeg)) return "a sampling that libjpeg's versions upsample differently";
    return nullptr;
}

Declined NativeDecoder::decode(const Region& region, std::uint32_t scale, RowSink& sink) {
    const Coefficients& frame = memory_.jpeg.frame;
    const std::uint32_t mcu_height = 8 / scale * frame.max_v;
    const std::uint32_t rows = (region.y1 + kMargin + mcu_height - 1) / mcu_height;
    DecodedScans scans;
    if (const Declined reason = decode_scans(memory_.jpeg, std::min(rows, frame.mcus_y),
                                             DcCheck::pixels, memory_.reader, scans)) {
        return reason;
    }
    write_pixels(memory_.jpeg, scans, region, scale, memory_.pixels, sink);
    return nullptr;
}

}  // namespace dl2::codec
