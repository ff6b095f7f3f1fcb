// What tests of regions share: random boxes, and a sink that keeps the pixels it is given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "dl2/jpeg/region.hpp"

namespace dl2_test {

// Keeps the rows of a region as RGB, three bytes a pixel.
struct CollectRgb : dl2::RowSink {
    explicit CollectRgb(const dl2::Region& region) : width(region.x1 - region.x0) {}

    void rows(const std::uint8_t* rgbx, std::size_t stride, std::uint32_t count) override {
        for (std::uint32_t row = 0; row < count; ++row, rgbx += stride) {
            for (std::size_t x = 0; x < width; ++x) {
                pixels.insert(pixels.end(), rgbx + 4 * x, rgbx + 4 * x + 3);
            }
        }
    }

    std::size_t width;
    std::vector<std::uint8_t> pixels;
};

inline dl2::Region random_region(std::mt19937& random, std::uint32_t width, std::uint32_t height) {
    const auto range = [&](std::uint32_t size, std::uint32_t& begin, std::uint32_t& end) {
        begin = random() % size;
        end = begin + 1 + random() % (size - begin);
    };
    dl2::Region region{};
    range(width, region.x0, region.x1);
    range(height, region.y0, region.y1);
    return region;
}

}  // namespace dl2_test
