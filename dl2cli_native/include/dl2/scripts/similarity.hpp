// How alike two images are: mean squared error, SSIM and MS-SSIM, as dl2cli/analysis/fidelity/
// metrics.py computes them, which names the papers. This is for a search that compares thousands of
// images; the tests hold the two against each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dl2 {

struct Similarity {
    double squared_error = 0;  // the mean over pixels and channels
    double ssim = 1;
    double ms_ssim = 1;
};

// Planes of bytes, one a channel, each width x height.
struct PlanarImage {
    std::uint32_t width = 0;
    std::uint32_t height = 0;
    std::uint32_t channels = 0;
    std::vector<std::uint8_t> samples;

    std::size_t pixels() const { return std::size_t{width} * height; }
};

constexpr std::uint32_t kSimilarityWindow = 11;  // pixels; smaller images have no SSIM

// Two images of one shape. Throws Error(argument) if they differ in it, or are too small. Without
// `structure` only the squared error is computed, and the others are 0.
Similarity compare(const PlanarImage& a, const PlanarImage& b, bool structure = true);

}  // namespace dl2
