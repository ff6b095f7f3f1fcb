// EXIF orientations: which pixel as stored is shown where. Source: EXIF 2.32, tag 0x0112.
#pragma once

#include <cstdint>
#include <vector>

#include "dl2/jpeg/region.hpp"

namespace dl2 {

// One of the eight ways to lay an image on its side or mirror it. Shown pixel (x, y) is stored at
// (x, y), or (y, x) if it is transposed, each coordinate mirrored or not.
class Orientation {
  public:
    // `exif` is 1 to 8; anything else means 1, as stored.
    explicit Orientation(unsigned exif);

    bool as_stored() const { return !transposed_ && !mirror_x_ && !mirror_y_; }

    // The side of the shown image, of an image that is stored as `width` x `height`.
    std::uint32_t shown_width(std::uint32_t width, std::uint32_t height) const {
        return transposed_ ? height : width;
    }
    std::uint32_t shown_height(std::uint32_t width, std::uint32_t height) const {
        return transposed_ ? width : height;
    }

    // Where a region of the shown image is stored.
    Region stored(const Region& shown, std::uint32_t width, std::uint32_t height) const;

    // Turns the pixels of a region, RGBX row by row, as they are stored, into those shown.
    void turn(const std::vector<std::uint8_t>& from, std::uint32_t stored_width,
              std::uint32_t stored_height, std::vector<std::uint8_t>& to) const;

  private:
    bool transposed_ = false;
    bool mirror_x_ = false;  // of the stored coordinates
    bool mirror_y_ = false;
};

}  // namespace dl2
