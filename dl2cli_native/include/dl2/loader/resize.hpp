// Antialiased bilinear resize, as Pillow's `resize(size, BILINEAR, box)`: the filter's support
// grows with the scale, weights have 22 bits, each direction is rounded to bytes. Ours is
// horizontal first; where Pillow goes vertically first (from version 13 on, when that is less
// work), results differ by at most 1 in places, for the rounding in between.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "dl2/loader/augment.hpp"

namespace dl2 {

// Which input samples make an output sample, along one axis.
struct ResizeAxis {
    std::uint32_t out_size = 0;
    std::uint32_t taps = 0;             // room for weights of an output sample
    std::vector<std::uint32_t> first;   // out_size: the first input sample
    std::vector<std::uint32_t> count;   // out_size: how many
    std::vector<std::int32_t> weights;  // out_size x taps, in units of 2^-22
    std::uint32_t begin = 0;            // all input samples that are used: [begin, end)
    std::uint32_t end = 0;

    // Maps [from, to) of `in_size` samples onto `out_size` samples.
    void set(std::uint32_t in_size, float from, float to, std::uint32_t out_size);
};

// Resizes an image that comes row by row, in RGBX (4 bytes a pixel). Reusable; one thread at a
// time. Memory: 4 bytes x the rows of the part x the size of the result.
class Resizer {
  public:
    // Begins an image; only [columns().begin, columns().end) x [rows().begin, rows().end) of its
    // box are needed. `flip` mirrors the result.
    void start(const Placement& placement, std::uint32_t size);

    const ResizeAxis& columns() const { return columns_; }
    const ResizeAxis& rows() const { return rows_; }

    // Takes the next needed rows; `rgbx` points at the first needed column.
    void push(const std::uint8_t* rgbx, std::size_t stride, std::uint32_t count);

    // Writes row `y` of the result: size x RGBX. All rows must have been pushed.
    void row(std::uint32_t y, std::uint8_t* out) const;

  private:
    ResizeAxis columns_;
    ResizeAxis rows_;
    bool flip_ = false;
    std::uint32_t pushed_ = 0;
    std::vector<std::uint8_t> between_;  // needed rows x size x RGBX: resized horizontally
};

// Lets tests run the portable code on a processor that has a faster way.
void use_portable_resize(bool portable);

}  // namespace dl2
