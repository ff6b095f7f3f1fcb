#include "codec/markers.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "codec/kernels/kernels.hpp"
#include "codec/marker_parser.hpp"

namespace dl2::codec {
namespace {

constexpr std::uint8_t kSof0 = 0xC0;
constexpr std::uint8_t kSof1 = 0xC1;
constexpr std::uint8_t kSof2 = 0xC2;
constexpr std::uint8_t kDht = 0xC4;
constexpr std::uint8_t kRst0 = 0xD0;
constexpr std::uint8_t kRst7 = 0xD7;
constexpr std::uint8_t kSoi = 0xD8;
constexpr std::uint8_t kEoi = 0xD9;
constexpr std::uint8_t kSos = 0xDA;
constexpr std::uint8_t kDqt = 0xDB;
constexpr std::uint8_t kDri = 0xDD;
constexpr std::uint8_t kApp0 = 0xE0;
constexpr std::uint8_t kApp14 = 0xEE;
constexpr std::uint8_t kApp15 = 0xEF;
constexpr std::uint8_t kCom = 0xFE;

constexpr std::uint32_t kMaxSide = 65500;   // libjpeg's JPEG_MAX_DIMENSION
constexpr std::uint32_t kMaxQuant = 32767;  // what fits the 16 bits of the inverse DCT

std::uint32_t big16(const std::uint8_t* at) {
    return (std::uint32_t{at[0]} << 8) | at[1];
}

std::uint32_t divide_up(std::uint32_t a, std::uint32_t b) {
    return (a + b - 1) / b;
}

// Finds the end of the entropy-coded data that starts at `at`: the next marker that is no restart
// marker, or the end of the piece.
Declined find_scan_end(Bytes bytes, std::size_t at, std::size_t& end) {
    const EntropyKernels& kernels = entropy_kernels();
    while (at < bytes.size) {
        at += kernels.find_marker(bytes.data + at, bytes.size - at);
        if (at == bytes.size) break;
        std::size_t next = at + 1;
        while (next < bytes.size && bytes[next] == 0xFF) ++next;
        if (next == bytes.size) return "a piece that ends inside a marker";
        const bool inside = bytes[next] == 0 || (bytes[next] >= kRst0 && bytes[next] <= kRst7);
        if (!inside) {
            end = at;
            return nullptr;
        }
        if (next != at + 1) return "fill bytes inside a scan";
        at = next + 1;
    }
    end = bytes.size;
    return nullptr;
}

}  // namespace

Declined MarkerParser::piece(Bytes bytes) {
    std::size_t at = 0;
    while (at < bytes.size) {
        if (bytes[at] != 0xFF) return "bytes between the markers";
        while (at < bytes.size && bytes[at] == 0xFF) ++at;
        if (at == bytes.size) return "a piece that ends inside a marker";
        const std::uint8_t marker = bytes[at++];
        if (marker == kSoi && !started_) {
            started_ = true;
            continue;
        }
        if (!started_) return "no start marker";
        if (marker == kEoi) {
            jpeg_.end_marker = true;
            return nullptr;
        }
        if (bytes.size - at < 2) return "a piece that ends inside a marker";
        const std::size_t length = big16(bytes.data + at);
        if (length < 2 || length > bytes.size - at) return "a marker longer than its piece";
        const Bytes payload = bytes.slice(at + 2, at + length);
        at += length;
        if (marker != kSos) {
            if (const Declined reason = segment(marker, payload)) return reason;
            continue;
        }
        ScanHeader scan;
        if (const Declined reason = scan_header(payload, scan)) return reason;
        std::size_t end = at;
        if (const Declined reason = find_scan_end(bytes, at, end)) return reason;
        scan.data = bytes.slice(at, end);
        at = end;
        jpeg_.scans.push_back(scan);
    }
    return nullptr;
}

Declined MarkerParser::segment(std::uint8_t marker, Bytes payload) {
    switch (marker) {
        case kSof0:
        case kSof1:
        case kSof2:
            return frame(marker, payload);
        case kDht:
            return huffman(payload);
        case kDqt:
            return quantisation(payload);
        case kDri:
            if (payload.size != 2) return "a restart interval of the wrong length";
            restart_interval_ = big16(payload.data);
            return nullptr;
        default:
            break;
    }
    const bool plain = (marker >= kApp0 && marker <= kApp15) || marker == kCom;
    return plain ? application(marker, payload) : "a marker that the native codec does not read";
}

Declined MarkerParser::frame(std::uint8_t marker, Bytes payload) {
    if (frame_seen_) return "a second frame header";
    frame_seen_ = true;
    Coefficients& frame = jpeg_.frame;
    jpeg_.progressive = marker == kSof2;
    if (payload.size < 6) return "a frame header of the wrong length";
    if (payload[0] != 8) return "a precision other than 8 bits";
    frame.height = big16(payload.data + 1);
    frame.width = big16(payload.data + 3);
    frame.component_count = payload[5];
    if (frame.width == 0 || frame.height == 0 || frame.width > kMaxSide ||
        frame.height > kMaxSide || std::uint64_t{frame.width} * frame.height > limits_.max_pixels) {
        return "a size that libjpeg or the limits refuse";
    }
    if (frame.component_count == 0 || frame.component_count > kMaxComponents) {
        return "more than four components";
    }
    if (payload.size != 6 + 3 * frame.component_count) return "a frame header of the wrong length";
    for (std::uint32_t i = 0; i < frame.component_count; ++i) {
        const std::uint8_t* at = payload.data + 6 + 3 * i;
        Component& component = frame.components[i];
        component.id = at[0];
        component.h = at[1] >> 4;
        component.v = at[1] & 15;
        quant_slot_[i] = at[2];
        for (std::uint32_t j = 0; j < i; ++j) {
            if (frame.components[j].id == component.id) return "two components with the same id";
        }
    }
    return geometry();
}

Declined MarkerParser::geometry() {
    Coefficients& frame = jpeg_.frame;
    Component* const begin = frame.components;
    Component* const end = begin + frame.component_count;
    for (const Component* each = begin; each < end; ++each) {
        if (each->h < 1 || each->h > 4 || each->v < 1 || each->v > 4)
            return "a sampling factor that JPEG does not have";
        frame.max_h = std::max<std::uint32_t>(frame.max_h, each->h);
        frame.max_v = std::max<std::uint32_t>(frame.max_v, each->v);
    }
    frame.mcus_x = divide_up(frame.width, 8 * frame.max_h);
    frame.mcus_y = divide_up(frame.height, 8 * frame.max_v);
    for (Component* each = begin; each < end; ++each) {
        if (frame.max_h % each->h != 0 || frame.max_v % each->v != 0) {
            return "sampling ratios that are not whole numbers";
        }
        each->samples_x = divide_up(frame.width * each->h, frame.max_h);
        each->samples_y = divide_up(frame.height * each->v, frame.max_v);
        each->blocks_x = divide_up(each->samples_x, 8);
        each->blocks_y = divide_up(each->samples_y, 8);
    }
    return nullptr;
}

Declined MarkerParser::quantisation(Bytes payload) {
    for (std::size_t at = 0; at < payload.size;) {
        const unsigned bytes = (payload[at] >> 4) + 1u;
        const unsigned slot = payload[at] & 15u;
        ++at;
        if (bytes > 2 || slot > 3) return "a quantisation table of an unknown kind";
        if (payload.size - at < bytes * kBlockSize) return "a short quantisation table";
        for (std::uint16_t& value : quant_[slot]) {
            const std::uint32_t read = bytes == 1 ? payload[at] : big16(payload.data + at);
            if (read > kMaxQuant) return "a quantisation step beyond 15 bits";
            value = static_cast<std::uint16_t>(read);
            at += bytes;
        }
        quant_defined_[slot] = true;
    }
    return nullptr;
}

Declined MarkerParser::huffman(Bytes payload) {
    for (std::size_t at = 0; at < payload.size;) {
        if (payload.size - at < 17) return "a short Huffman table";
        const unsigned kind = payload[at] >> 4;
        const unsigned slot = payload[at] & 15u;
        if (kind > 1 || slot > 3) return "a Huffman table of an unknown kind";
        HuffmanSpec table;
        std::copy_n(payload.data + at + 1, 16, table.counts + 1);
        at += 17;
        const std::size_t count = table.symbol_count();
        if (count > 256 || count > payload.size - at) return "a Huffman table with too many codes";
        std::copy_n(payload.data + at, count, table.symbols);
        at += count;
        if (jpeg_.tables.size() >= kNoTable) return "too many Huffman tables";
        (kind == 0 ? dc_ : ac_)[slot] = static_cast<std::uint16_t>(jpeg_.tables.size());
        jpeg_.tables.push_back(table);
    }
    return nullptr;
}

Declined MarkerParser::application(std::uint8_t marker, Bytes payload) {
    const bool jfif =
        marker == kApp0 && payload.size >= 14 && std::memcmp(payload.data, "JFIF\0", 5) == 0;
    const bool adobe =
        marker == kApp14 && payload.size >= 12 && std::memcmp(payload.data, "Adobe", 5) == 0;
    if ((jfif || adobe) && !jpeg_.scans.empty()) return "colours explained after the first scan";
    if (jfif) {
        jpeg_.jfif = true;
        jpeg_.jfif_version[0] = payload[5];
        jpeg_.jfif_version[1] = payload[6];
        jpeg_.density_unit = payload[7];
        jpeg_.density_x = static_cast<std::uint16_t>(big16(payload.data + 8));
        jpeg_.density_y = static_cast<std::uint16_t>(big16(payload.data + 10));
    }
    if (adobe) {
        jpeg_.adobe = true;
        jpeg_.adobe_transform = payload[11];
    }
    jpeg_.segments.push_back({marker, payload});
    return nullptr;
}

// As libjpeg's default_decompress_parms does it.
Declined MarkerParser::guess_colors() {
    const Component* const c = jpeg_.frame.components;
    const auto ids = [&](char a, char b, char d) {
        return c[0].id == a && c[1].id == b && c[2].id == d;
    };
    switch (jpeg_.frame.component_count) {
        case 1:
            jpeg_.color = ColorSpace::gray;
            return nullptr;
        case 3:
            jpeg_.color = ColorSpace::ycbcr;
            if (jpeg_.jfif) return nullptr;
            if (jpeg_.adobe) {
                if (jpeg_.adobe_transform > 1) return "an Adobe colour transform without a meaning";
                if (jpeg_.adobe_transform == 0) jpeg_.color = ColorSpace::rgb;
            } else if (ids('R', 'G', 'B')) {
                jpeg_.color = ColorSpace::rgb;
            }
            return nullptr;
        case 4:
            jpeg_.color = ColorSpace::cmyk;
            if (!jpeg_.adobe || jpeg_.adobe_transform == 0) return nullptr;
            jpeg_.color = ColorSpace::ycck;
            return jpeg_.adobe_transform == 2 ? nullptr
                                              : "an Adobe colour transform without a meaning";
        default:
            return "two components, whose meaning is unknown";
    }
}

Declined MarkerParser::finish() const {
    if (jpeg_.scans.empty()) return "no scans";
    for (std::uint32_t i = 0; i < jpeg_.frame.component_count; ++i) {
        if (!latched_[i]) return "a component that no scan holds";
    }
    return nullptr;
}

std::uint32_t HuffmanSpec::symbol_count() const {
    return std::accumulate(std::begin(counts), std::end(counts), 0u);
}

void ParsedJpeg::clear() {
    std::vector<ScanHeader> old_scans = std::move(scans);
    std::vector<HuffmanSpec> old_tables = std::move(tables);
    std::vector<Segment> old_segments = std::move(segments);
    *this = ParsedJpeg();
    old_scans.clear();
    old_tables.clear();
    old_segments.clear();
    scans = std::move(old_scans);
    tables = std::move(old_tables);
    segments = std::move(old_segments);
}

Declined parse(const Bytes* fragments, std::size_t count, const Limits& limits, ParsedJpeg& jpeg) {
    jpeg.clear();
    MarkerParser parser(limits, jpeg);
    for (std::size_t i = 0; i < count && !jpeg.end_marker; ++i) {
        if (const Declined reason = parser.piece(fragments[i])) return reason;
    }
    return parser.finish();
}

}  // namespace dl2::codec
