#include "loader/orientation.hpp"

#include <cstring>

namespace dl2 {
namespace {

constexpr std::size_t kPixelBytes = 4;

// [begin, end) seen from the other end of `size` pixels.
void mirror(std::uint32_t& begin, std::uint32_t& end, std::uint32_t size) {
    const std::uint32_t first = size - end;
    end = size - begin;
    begin = first;
}

}  // namespace

Orientation::Orientation(unsigned exif) {
    if (exif < 1 || exif > 8) return;
    transposed_ = exif >= 5;
    mirror_x_ = exif == 2 || exif == 3 || exif == 7 || exif == 8;
    mirror_y_ = exif == 3 || exif == 4 || exif == 6 || exif == 7;
}

Region Orientation::stored(const Region& shown, std::uint32_t width, std::uint32_t height) const {
    Region region = shown;
    if (transposed_) region = {shown.y0, shown.x0, shown.y1, shown.x1};
    if (mirror_x_) mirror(region.x0, region.x1, width);
    if (mirror_y_) mirror(region.y0, region.y1, height);
    return region;
}

void Orientation::turn(const std::vector<std::uint8_t>& from, std::uint32_t stored_width,
                       std::uint32_t stored_height, std::vector<std::uint8_t>& to) const {
    to.resize(from.size());
    const std::uint32_t width = shown_width(stored_width, stored_height);
    const std::uint32_t height = shown_height(stored_width, stored_height);
    std::uint8_t* out = to.data();
    for (std::uint32_t y = 0; y < height; ++y) {
        for (std::uint32_t x = 0; x < width; ++x, out += kPixelBytes) {
            std::uint32_t stored_x = transposed_ ? y : x;
            std::uint32_t stored_y = transposed_ ? x : y;
            if (mirror_x_) stored_x = stored_width - 1 - stored_x;
            if (mirror_y_) stored_y = stored_height - 1 - stored_y;
            const std::size_t at = std::size_t{stored_y} * stored_width + stored_x;
            std::memcpy(out, from.data() + kPixelBytes * at, kPixelBytes);
        }
    }
}

}  // namespace dl2
