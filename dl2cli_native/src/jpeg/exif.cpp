#include "jpeg/exif.hpp"

#include <cstring>

#include "jpeg/marker_walk.hpp"

namespace dl2 {
namespace {

constexpr std::uint32_t kTiffLong = 4;
constexpr std::size_t kPrefixSize = 6;

}  // namespace

bool is_exif(Bytes app1) {
    return app1.size >= kPrefixSize && std::memcmp(app1.data, "Exif\0\0", kPrefixSize) == 0;
}

std::uint8_t exif_orientation(Bytes app1) {
    if (app1.size < 14 || !is_exif(app1)) return 0;
    const Bytes tiff = app1.slice(kPrefixSize, app1.size);
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

}  // namespace dl2
