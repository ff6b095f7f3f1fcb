#include "jpeg/metadata.hpp"

#include <cstring>

namespace dl2 {
namespace {

constexpr std::uint8_t kApp0 = 0xE0;
constexpr std::uint8_t kApp1 = 0xE1;
constexpr std::uint8_t kApp2 = 0xE2;
constexpr std::uint8_t kApp14 = 0xEE;

template <std::size_t size>
bool begins_with(Bytes payload, const char (&prefix)[size]) {
    return payload.size >= size - 1 && std::memcmp(payload.data, prefix, size - 1) == 0;
}

}  // namespace

bool may_keep_segment(KeepMetadata keep, std::uint8_t marker) {
    switch (keep) {
        case KeepMetadata::none:
            return false;
        case KeepMetadata::icc:
            return marker == kApp2;
        case KeepMetadata::exif:
            return marker == kApp1;
        case KeepMetadata::all:
            return true;
    }
    return false;
}

bool keeps_segment(KeepMetadata keep, std::uint8_t marker, Bytes payload) {
    if (!may_keep_segment(keep, marker)) return false;
    // The encoder writes these two by itself, from what they say. One that the source had where it
    // does not count, between scans, would change the colours in front of them.
    if (marker == kApp0 && begins_with(payload, "JFIF\0")) return false;
    if (marker == kApp14 && begins_with(payload, "Adobe")) return false;
    // The index of a multi-picture file: offsets of images behind the first, which are not kept.
    if (marker == kApp2 && begins_with(payload, "MPF\0")) return false;
    if (keep == KeepMetadata::icc) return begins_with(payload, "ICC_PROFILE\0");
    if (keep == KeepMetadata::exif) return begins_with(payload, "Exif\0\0");
    return true;
}

}  // namespace dl2
