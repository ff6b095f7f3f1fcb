// Walking over the markers of a JPEG (T.81, annex B), without libjpeg.
#pragma once

#include <cstring>
#include <string>

#include "dl2/error.hpp"
#include "dl2/io/bytes.hpp"

namespace dl2 {

inline constexpr std::uint8_t kSoi = 0xD8;
inline constexpr std::uint8_t kEoi = 0xD9;
inline constexpr std::uint8_t kSos = 0xDA;
inline constexpr std::uint8_t kDqt = 0xDB;
inline constexpr std::uint8_t kApp1 = 0xE1;
inline constexpr std::uint8_t kApp2 = 0xE2;
inline constexpr std::uint8_t kTem = 0x01;

[[noreturn]] inline void damaged(const std::string& reason) {
    throw Error(ErrorKind::data, reason);
}

// The bytes end inside a marker. If they are only the beginning of a file, reading more may help.
struct EndOfBytes : Error {
    explicit EndOfBytes(const std::string& reason) : Error(ErrorKind::data, reason) {}
};

inline std::uint16_t big16(const std::uint8_t* at) {
    return static_cast<std::uint16_t>((at[0] << 8) | at[1]);
}

inline bool is_restart(std::uint8_t marker) {
    return marker >= 0xD0 && marker <= 0xD7;
}

inline bool is_frame(std::uint8_t marker) {
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
        if (at_ >= jpeg_.size) throw EndOfBytes("the file ends before the image does");
        segment.marker = jpeg_[at_++];
        segment.payload = segment.end = at_;
        if (segment.marker == 0 || segment.marker == kTem || segment.marker == kSoi ||
            segment.marker == kEoi || is_restart(segment.marker)) {
            return segment;
        }
        if (jpeg_.size - at_ < 2) throw EndOfBytes("the file ends inside a marker");
        const std::size_t length = big16(jpeg_.data + at_);
        if (length < 2) damaged("a marker of impossible length");
        if (length > jpeg_.size - at_) {
            throw EndOfBytes("a marker promises " + std::to_string(length) +
                             " bytes, more than there are");
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
        throw EndOfBytes("the file ends inside a scan");
    }

    std::size_t position() const { return at_; }

  private:
    Bytes jpeg_;
    std::size_t at_;
};

}  // namespace dl2
