#include "dl2/jpeg/header.hpp"

#include <algorithm>
#include <map>
#include <string>

#include "codec/coefficients.hpp"
#include "dl2/error.hpp"
#include "jpeg/exif.hpp"
#include "jpeg/marker_walk.hpp"

namespace dl2 {
namespace {

constexpr std::size_t kIccPrefixSize = 14;  // the name, the number of the piece, and of how many

bool is_icc(Bytes app2) {
    return app2.size >= kIccPrefixSize && std::memcmp(app2.data, "ICC_PROFILE\0", 12) == 0;
}

void read_frame(Bytes payload, JpegHeader& header) {
    if (payload.size < 6) damaged("the frame header is too short");
    header.precision = payload[0];
    header.height = big16(payload.data + 1);
    header.width = big16(payload.data + 3);
    header.component_count = payload[5];
    if (header.component_count == 0 || header.component_count > 4) {
        damaged(std::to_string(header.component_count) + " colour components");
    }
    if (payload.size < 6u + 3u * header.component_count) damaged("the frame header is too short");
    if (header.width == 0) damaged("an empty image, 0 pixels wide");
    if (header.height == 0) {  // T.81, B.2.5
        damaged(
            "a height of 0, left to a DNL marker behind the first scan, which libjpeg does not "
            "read");
    }
    for (std::size_t i = 0; i < header.component_count; ++i) {
        JpegComponent& component = header.components[i];
        component.id = payload[6 + 3 * i];
        component.h = payload[7 + 3 * i] >> 4;
        component.v = payload[7 + 3 * i] & 15;
        component.quant_table = payload[8 + 3 * i];
        if (component.h < 1 || component.h > 4 || component.v < 1 || component.v > 4) {
            damaged("a sampling factor that JPEG does not have");
        }
    }
}

void check_limits(const JpegHeader& header, Bytes jpeg, const Limits& limits) {
    const std::string size = std::to_string(header.width) + " x " + std::to_string(header.height);
    const std::uint64_t pixels = std::uint64_t{header.width} * header.height;
    if (pixels > limits.max_pixels) {
        damaged(size + " pixels, more than the limit of " + std::to_string(limits.max_pixels));
    }
    // A Huffman code has at least one bit, and every block has a DC code: a file with fewer bits
    // than its first component has blocks cannot hold the image that it promises.
    std::uint64_t max_h = 1;
    std::uint64_t max_v = 1;
    for (std::size_t i = 0; i < header.component_count; ++i) {
        max_h = std::max<std::uint64_t>(max_h, header.components[i].h);
        max_v = std::max<std::uint64_t>(max_v, header.components[i].v);
    }
    const std::uint64_t columns = header.width * std::uint64_t{header.components[0].h} / max_h / 8;
    const std::uint64_t rows = header.height * std::uint64_t{header.components[0].v} / max_v / 8;
    const std::uint64_t blocks = columns * rows;
    if (!header.arithmetic() && (jpeg.size - header.first_scan) * 8 < blocks) {
        damaged(size + " pixels promised, with " + std::to_string(jpeg.size - header.first_scan) +
                " bytes of image data");
    }
}

void read_quant_tables(Bytes payload, JpegHeader& header) {
    std::size_t at = 0;
    while (at < payload.size) {
        const bool wide = payload[at] >> 4 != 0;
        const std::size_t index = payload[at] & 15u;
        const std::size_t end = at + 1 + (wide ? 2 : 1) * codec::kBlockSize;
        if (index >= header.quant_tables.size() || end > payload.size) {
            damaged("a damaged quantisation table");
        }
        QuantTable& table = header.quant_tables[index];
        table.defined = true;
        const std::uint8_t* steps = payload.data + at + 1;
        for (std::size_t i = 0; i < codec::kBlockSize; ++i) {
            table.steps[codec::kNaturalOrder[i]] = wide ? big16(steps + 2 * i) : steps[i];
        }
        at = end;
    }
}

// Takes what counts of a segment in front of the first scan.
void read_segment(const Segment& segment, Bytes payload, JpegHeader& header) {
    if (segment.marker == kDqt) read_quant_tables(payload, header);
    if (segment.marker == kApp1 && is_exif(payload)) {
        if (header.exif_end == 0) {
            header.exif_begin = segment.payload;
            header.exif_end = segment.end;
        }
        const std::uint8_t orientation = exif_orientation(payload);
        if (orientation != 0 && header.orientation == 1) header.orientation = orientation;
    }
    if (segment.marker == kApp2 && is_icc(payload)) header.icc = true;
    if (is_frame(segment.marker) && header.component_count == 0) {
        header.frame = segment.marker & 15;
        read_frame(payload, header);
    }
}

// Reads up to the first scan. Throws EndOfBytes if it does not come.
JpegHeader read_markers(Bytes jpeg) {
    if (!looks_like_jpeg(jpeg)) damaged("not a JPEG file");
    JpegHeader header;
    MarkerWalk walk(jpeg, 2);
    while (true) {
        const Segment segment = walk.next();
        if (segment.marker == kEoi) damaged("no image data before the end marker");
        if (segment.marker == kSos) {
            if (header.component_count == 0) damaged("a scan before the frame header");
            header.first_scan = segment.begin;
            return header;
        }
        read_segment(segment, jpeg.slice(segment.payload, segment.end), header);
    }
}

}  // namespace

bool looks_like_jpeg(Bytes bytes) {
    return bytes.size >= 3 && bytes[0] == 0xFF && bytes[1] == kSoi && bytes[2] == 0xFF;
}

JpegHeader read_jpeg_header(Bytes jpeg, const Limits& limits) {
    const JpegHeader header = read_markers(jpeg);
    check_limits(header, jpeg, limits);
    return header;
}

std::optional<JpegHeader> peek_jpeg_header(Bytes beginning) {
    try {
        return read_markers(beginning);
    } catch (const EndOfBytes&) {
        return std::nullopt;
    }
}

std::vector<std::uint8_t> read_icc_profile(Bytes jpeg) {
    std::map<std::uint8_t, Bytes> pieces;
    std::size_t count = 0;
    MarkerWalk walk(jpeg, 2);
    for (Segment segment = walk.next(); segment.marker != kSos; segment = walk.next()) {
        const Bytes payload = jpeg.slice(segment.payload, segment.end);
        if (segment.marker == kEoi) break;
        if (segment.marker != kApp2 || !is_icc(payload)) continue;
        count = payload[kIccPrefixSize - 1];
        pieces[payload[kIccPrefixSize - 2]] = payload.slice(kIccPrefixSize, payload.size);
    }
    std::vector<std::uint8_t> profile;
    if (pieces.size() != count) return profile;
    for (const auto& [number, piece] : pieces) {
        profile.insert(profile.end(), piece.data, piece.data + piece.size);
    }
    return profile;
}

}  // namespace dl2
