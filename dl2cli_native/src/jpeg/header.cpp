#include "dl2/jpeg/header.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "dl2/error.hpp"

namespace dl2 {
namespace {

constexpr std::uint8_t kSoi = 0xD8;
constexpr std::uint8_t kEoi = 0xD9;
constexpr std::uint8_t kSos = 0xDA;
constexpr std::uint8_t kApp1 = 0xE1;
constexpr std::uint8_t kTem = 0x01;
constexpr std::uint32_t kTiffLong = 4;

[[noreturn]] void damaged(const std::string& reason) {
    throw Error(ErrorKind::data, reason);
}

std::uint16_t big16(const std::uint8_t* at) {
    return static_cast<std::uint16_t>((at[0] << 8) | at[1]);
}

bool is_restart(std::uint8_t marker) {
    return marker >= 0xD0 && marker <= 0xD7;
}

bool is_frame(std::uint8_t marker) {
    // 0xC4 (DHT), 0xC8 (JPG) and 0xCC (DAC) lie in the range of the SOF markers.
    return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

struct Segment {
    std::uint8_t marker = 0;
    std::size_t begin = 0;    // offset of the 0xFF of the marker
    std::size_t payload = 0;  // offset behind the length field
    std::size_t end = 0;      // offset of what follows
};

// Walks the marker segments of a JPEG; the caller skips entropy-coded data itself.
class MarkerWalk {
  public:
    MarkerWalk(Bytes jpeg, std::size_t at) : jpeg_(jpeg), at_(at) {}

    Segment next() {
        Segment segment;
        // libjpeg skips bytes that are no marker, too; so do all decoders that people use.
        while (at_ < jpeg_.size && jpeg_[at_] != 0xFF) ++at_;
        segment.begin = at_;
        while (at_ < jpeg_.size && jpeg_[at_] == 0xFF) ++at_;
        if (at_ >= jpeg_.size) damaged("the file ends before the image does");
        segment.marker = jpeg_[at_++];
        segment.payload = segment.end = at_;
        if (segment.marker == 0 || segment.marker == kTem || segment.marker == kSoi ||
            segment.marker == kEoi || is_restart(segment.marker)) {
            return segment;
        }
        if (jpeg_.size - at_ < 2) damaged("the file ends inside a marker");
        const std::size_t length = big16(jpeg_.data + at_);
        if (length < 2 || length > jpeg_.size - at_) {
            damaged("a marker promises " + std::to_string(length) + " bytes, more than there are");
        }
        segment.payload = at_ + 2;
        segment.end = at_ += length;
        return segment;
    }

    // Moves behind the entropy-coded data, to the marker that ends it.
    void skip_entropy_coded() {
        while (at_ < jpeg_.size) {
            const void* hit = std::memchr(jpeg_.data + at_, 0xFF, jpeg_.size - at_);
            if (hit == nullptr) break;
            at_ = static_cast<std::size_t>(static_cast<const std::uint8_t*>(hit) - jpeg_.data);
            if (at_ + 1 >= jpeg_.size) break;
            const std::uint8_t next = jpeg_[at_ + 1];
            if (next == 0xFF) {
                ++at_;  // a fill byte
            } else if (next == 0 || is_restart(next)) {
                at_ += 2;
            } else {
                return;
            }
        }
        damaged("the file ends inside a scan");
    }

    std::size_t position() const { return at_; }

  private:
    Bytes jpeg_;
    std::size_t at_;
};

// The orientation in an APP1 EXIF payload, or 0 if there is none. Lies about offsets give 0.
std::uint8_t exif_orientation(Bytes app1) {
    if (app1.size < 14 || std::memcmp(app1.data, "Exif\0\0", 6) != 0) return 0;
    const Bytes tiff = app1.slice(6, app1.size);
    const bool little = tiff[0] == 'I';
    auto u16 = [&](std::size_t at) -> std::uint32_t {
        return little ? tiff[at] | (tiff[at + 1] << 8) : big16(tiff.data + at);
    };
    auto u32 = [&](std::size_t at) -> std::uint64_t {
        return little ? u16(at) | (static_cast<std::uint64_t>(u16(at + 2)) << 16)
                      : (static_cast<std::uint64_t>(u16(at)) << 16) | u16(at + 2);
    };
    const std::uint64_t directory = u32(4);
    if (directory + 2 > tiff.size) return 0;
    const std::uint32_t entries = u16(directory);
    for (std::uint32_t entry = 0; entry < entries; ++entry) {
        const std::uint64_t at = directory + 2 + 12ull * entry;
        if (at + 12 > tiff.size) return 0;
        if (u16(at) != 0x0112) continue;
        // A SHORT by the standard; some files hold a LONG.
        const std::uint64_t value = u16(at + 2) == kTiffLong ? u32(at + 8) : u16(at + 8);
        return value >= 1 && value <= 8 ? static_cast<std::uint8_t>(value) : 0;
    }
    return 0;
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
    if (header.width == 0 || header.height == 0) damaged("an empty image (" + size + ")");
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

}  // namespace

bool looks_like_jpeg(Bytes bytes) {
    return bytes.size >= 3 && bytes[0] == 0xFF && bytes[1] == kSoi && bytes[2] == 0xFF;
}

JpegHeader read_jpeg_header(Bytes jpeg, const Limits& limits) {
    if (!looks_like_jpeg(jpeg)) damaged("not a JPEG file");
    JpegHeader header;
    bool frame_seen = false;
    MarkerWalk walk(jpeg, 2);
    while (true) {
        const Segment segment = walk.next();
        const Bytes payload = jpeg.slice(segment.payload, segment.end);
        if (segment.marker == kEoi) damaged("no image data before the end marker");
        if (segment.marker == kSos) {
            if (!frame_seen) damaged("a scan before the frame header");
            header.first_scan = segment.begin;
            check_limits(header, jpeg, limits);
            return header;
        }
        if (segment.marker == kApp1 && header.orientation == 1) {
            const std::uint8_t orientation = exif_orientation(payload);
            if (orientation != 0) header.orientation = orientation;
        }
        if (is_frame(segment.marker) && !frame_seen) {
            frame_seen = true;
            header.frame = segment.marker & 15;
            read_frame(payload, header);
        }
    }
}

std::vector<std::size_t> find_scans(Bytes jpeg, std::uint32_t max_scans) {
    if (!looks_like_jpeg(jpeg)) damaged("not a JPEG file");
    std::vector<std::size_t> offsets{0};
    MarkerWalk walk(jpeg, 2);
    while (true) {
        const Segment segment = walk.next();
        if (segment.marker == kEoi) break;
        if (segment.marker != kSos) continue;
        if (offsets.size() > max_scans) {
            damaged("more than " + std::to_string(max_scans) + " scans");
        }
        walk.skip_entropy_coded();
        offsets.push_back(walk.position());
    }
    if (offsets.size() == 1) damaged("no image data before the end marker");
    return offsets;
}

}  // namespace dl2
