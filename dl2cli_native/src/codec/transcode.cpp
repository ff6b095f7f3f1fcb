#include "codec/transcode.hpp"

#include <algorithm>
#include <array>
#include <new>

#include "codec/decode/read_coefficients.hpp"
#include "codec/encode/markers.hpp"
#include "codec/encode/scan_encoder.hpp"
#include "dl2/error.hpp"
#include "jpeg/metadata.hpp"

namespace dl2::codec {
namespace {

ColorModel color_model(ColorSpace color) {
    switch (color) {
        case ColorSpace::gray:
            return ColorModel::gray;
        case ColorSpace::ycbcr:
            return ColorModel::ycbcr;
        case ColorSpace::rgb:
            return ColorModel::rgb;
        case ColorSpace::cmyk:
            return ColorModel::cmyk;
        case ColorSpace::ycck:
            break;
    }
    return ColorModel::ycck;
}

void stop_if(const std::atomic<bool>* cancel) {
    if (cancel != nullptr && cancel->load()) throw Error(ErrorKind::cancelled, "cancelled");
}

// Threads keep their memory from image to image, but free what a rare giant needed.
constexpr std::uint64_t kKeptPixels = 1 << 24;

}  // namespace

struct NativeTranscoder::State {
    ParsedJpeg parsed;
    ReaderMemory memory;
    ScanEncoder encoder;
    std::vector<ImageScan> plan;
    std::vector<std::size_t> ends;

    Declined transcode(Bytes jpeg, const JpegHeader& header, const TranscodeOptions& options,
                       const std::atomic<bool>* cancel, Transcoded& result);
    void cut(std::size_t groups, Transcoded& result) const;
};

Declined NativeTranscoder::State::transcode(Bytes jpeg, const JpegHeader& header,
                                            const TranscodeOptions& options,
                                            const std::atomic<bool>* cancel, Transcoded& result) {
    stop_if(cancel);
    if (const Declined reason = parse(&jpeg, 1, options.limits, parsed)) return reason;
    if (!parsed.end_marker) return "a file without an end marker";
    const Coefficients& image = parsed.frame;
    if (image.width != header.width || image.height != header.height) return "two frame headers";
    if (const Declined reason = read_coefficients(parsed, memory)) return reason;
    stop_if(cancel);

    const ColorModel model = color_model(parsed.color);
    std::array<std::uint8_t, kMaxComponents> h{};
    std::array<std::uint8_t, kMaxComponents> v{};
    std::array<std::uint8_t, kMaxComponents> tables{};
    for (std::size_t i = 0; i < image.component_count; ++i) {
        h[i] = image.components[i].h;
        v[i] = image.components[i].v;
        // As jpeg_set_colorspace has it: table 1 is for chroma.
        const bool chroma = model == ColorModel::ycbcr || model == ColorModel::ycck;
        tables[i] = chroma && (i == 1 || i == 2) ? 1 : 0;
    }
    plan = plan_scans(options.script, model, h, v);
    put_file_header(parsed, result.bytes);
    for (const Segment& segment : parsed.segments) {
        if (!keeps_segment(options.keep, segment.marker, segment.payload)) continue;
        put_segment(segment, result.bytes);
    }
    if (!put_frame_header(parsed, header, result.bytes)) return "a quantisation table of two kinds";
    if (!encoder.encode(image, tables.data(), plan, result.bytes, ends)) {
        return "coefficients or codes that are too long for JPEG";
    }
    cut(count_groups(options.script), result);
    return nullptr;
}

// Sums up the scans by group.
void NativeTranscoder::State::cut(std::size_t groups, Transcoded& result) const {
    result.group_end.assign(groups, 0);
    std::size_t scan = 0;
    std::uint32_t end = 0;
    for (std::size_t group = 0; group < groups; ++group) {
        for (; scan < plan.size() && plan[scan].group == group; ++scan) {
            end = static_cast<std::uint32_t>(ends[scan]);
        }
        result.group_end[group] = end;
    }
}

NativeTranscoder::NativeTranscoder() : state_(std::make_unique<State>()) {}

NativeTranscoder::~NativeTranscoder() = default;

Declined NativeTranscoder::transcode(Bytes jpeg, const JpegHeader& header,
                                     const TranscodeOptions& options,
                                     const std::atomic<bool>* cancel, Transcoded& result) {
    Declined declined = nullptr;
    bool keep_memory = std::uint64_t{header.width} * header.height <= kKeptPixels;
    try {
        declined = state_->transcode(jpeg, header, options, cancel, result);
    } catch (const std::bad_alloc&) {  // libjpeg gets by with less
        declined = "not enough memory";
        keep_memory = false;
    }
    if (declined != nullptr) result.bytes.clear();
    if (!keep_memory) state_ = std::make_unique<State>();
    return declined;
}

}  // namespace dl2::codec
