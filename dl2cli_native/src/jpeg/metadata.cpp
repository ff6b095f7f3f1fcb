#include "jpeg/metadata.hpp"

#include <cstring>

namespace dl2 {
namespace {

constexpr std::uint8_t kApp0 = 0xE0;

bool starts_with(Bytes payload, const char* prefix, std::size_t size) {
    return payload.size >= size && std::memcmp(payload.data, prefix, size) == 0;
}

}  // namespace

bool keeps_segment(KeepMetadata keep, std::uint8_t marker, Bytes payload) {
    // The writer makes these two by itself, from the parameters. One that the source had where it
    // does not count, between scans, would change the colours in front of them.
    if (marker == kApp0 && starts_with(payload, "JFIF\0", 5)) return false;
    if (marker == kApp0 + 14 && starts_with(payload, "Adobe", 5)) return false;
    switch (keep) {
        case KeepMetadata::none:
            return false;
        case KeepMetadata::icc:
            return marker == kApp0 + 2 && starts_with(payload, "ICC_PROFILE\0", 12);
        case KeepMetadata::exif:
            return marker == kApp0 + 1 && starts_with(payload, "Exif\0\0", 6);
        case KeepMetadata::all:
            return true;
    }
    return false;
}

}  // namespace dl2
