#include "dl2/loader/augment.hpp"

#include <algorithm>
#include <cmath>

#include "dl2/error.hpp"

namespace dl2 {
namespace {

constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15ull;
constexpr std::uint32_t kMaxSize = 8192;
constexpr int kAttempts = 10;

std::uint64_t mix(std::uint64_t value) {
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
    return value ^ (value >> 31);
}

Placement whole_box(std::uint32_t x, std::uint32_t y, std::uint32_t width, std::uint32_t height) {
    const auto right = static_cast<float>(width);
    const auto bottom = static_cast<float>(height);
    return {x, y, width, height, 0, 0, right, bottom, false};
}

std::uint32_t clamp_side(double value, std::uint32_t side) {
    return static_cast<std::uint32_t>(std::clamp(value, 1.0, static_cast<double>(side)));
}

// The largest crop in the centre whose ratio is allowed.
Placement fallback_crop(const TransformOptions& options, std::uint32_t width,
                        std::uint32_t height) {
    const double ratio = static_cast<double>(width) / height;
    std::uint32_t w = width;
    std::uint32_t h = height;
    if (ratio < options.ratio_min) h = clamp_side(std::rint(width / options.ratio_min), height);
    if (ratio > options.ratio_max) w = clamp_side(std::rint(height * options.ratio_max), width);
    return whole_box((width - w) / 2, (height - h) / 2, w, h);
}

Placement random_crop(const TransformOptions& options, SampleRandom& random, std::uint32_t width,
                      std::uint32_t height) {
    const double area = static_cast<double>(width) * height;
    const double log_min = std::log(options.ratio_min);
    const double log_max = std::log(options.ratio_max);
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        const double share =
            options.scale_min + (options.scale_max - options.scale_min) * random.uniform();
        const double ratio = std::exp(log_min + (log_max - log_min) * random.uniform());
        const double w = std::rint(std::sqrt(area * share * ratio));
        const double h = std::rint(std::sqrt(area * share / ratio));
        if (w < 1 || h < 1 || w > width || h > height) continue;
        const auto crop_width = static_cast<std::uint32_t>(w);
        const auto crop_height = static_cast<std::uint32_t>(h);
        const std::uint32_t y = random.below(height - crop_height + 1);
        const std::uint32_t x = random.below(width - crop_width + 1);
        return whole_box(x, y, crop_width, crop_height);
    }
    return fallback_crop(options, width, height);
}

// Resizes the short side to `resize_short` and takes the centre, without ever having the resized
// image: its centre, in coordinates of the original.
Placement centre(const TransformOptions& options, std::uint32_t width, std::uint32_t height) {
    const double short_side = std::min(width, height);
    const auto resized = [&](std::uint32_t side) {
        return std::floor(options.resize_short * static_cast<double>(side) / short_side);
    };
    const auto part = [&](std::uint32_t side, float& begin, float& end) {
        const double long_side = resized(side);
        const double offset = std::rint((long_side - options.size) / 2);
        begin = static_cast<float>(offset * side / long_side);
        end = std::min(static_cast<float>((offset + options.size) * side / long_side),
                       static_cast<float>(side));
    };
    Placement placement = whole_box(0, 0, width, height);
    part(width, placement.left, placement.right);
    part(height, placement.top, placement.bottom);
    return placement;
}

}  // namespace

void check_transform(const TransformOptions& options) {
    const auto refuse = [](const char* reason) { throw Error(ErrorKind::argument, reason); };
    if (options.size < 1 || options.size > kMaxSize) refuse("the size must be 1 to 8192 pixels");
    if (options.resize_short < options.size || options.resize_short > 4 * kMaxSize) {
        refuse("the short side must be at least as long as the crop");
    }
    if (!(options.scale_min > 0 && options.scale_min <= options.scale_max &&
          options.scale_max <= 1)) {
        refuse("the scale must be a range within 0 to 1");
    }
    if (!(options.ratio_min > 0 && options.ratio_min <= options.ratio_max &&
          options.ratio_max <= 1e6)) {
        refuse("the ratio must be a range above 0");
    }
    if (!(options.flip_probability >= 0 && options.flip_probability <= 1)) {
        refuse("the flip probability must be 0 to 1");
    }
}

SampleRandom::SampleRandom(std::uint64_t seed, std::uint64_t epoch, std::uint64_t sample)
    : state_(mix(mix(mix(seed + kGolden) + epoch + kGolden) + sample + kGolden)) {}

double SampleRandom::uniform() {
    state_ += kGolden;
    return static_cast<double>(mix(state_) >> 11) * 0x1p-53;
}

std::uint32_t SampleRandom::below(std::uint32_t end) {
    return static_cast<std::uint32_t>(uniform() * end);
}

Placement place(const TransformOptions& options, SampleRandom random, std::uint32_t width,
                std::uint32_t height) {
    if (!options.train) return centre(options, width, height);
    const bool flip = random.uniform() < options.flip_probability;
    Placement placement = random_crop(options, random, width, height);
    placement.flip = flip;
    return placement;
}

std::uint32_t largest_scale(const Placement& placement, std::uint32_t size) {
    const float side = std::min(placement.right - placement.left, placement.bottom - placement.top);
    std::uint32_t scale = 8;
    while (scale > 1 && side < static_cast<float>(scale * size)) scale /= 2;
    return scale;
}

namespace {

// One axis: [begin + from, begin + to) of `size` pixels becomes a box of whole scaled pixels.
void scale_axis(std::uint32_t scale, std::uint32_t size, std::uint32_t& begin,
                std::uint32_t& length, float& from, float& to) {
    const double low = (static_cast<double>(begin) + static_cast<double>(from)) / scale;
    const double high = (static_cast<double>(begin) + static_cast<double>(to)) / scale;
    const std::uint32_t scaled_end = (size + scale - 1) / scale;
    const std::uint32_t old_end = (begin + length + scale - 1) / scale;
    begin /= scale;
    length = std::min(old_end, scaled_end) - begin;
    from = static_cast<float>(low - begin);
    to = std::min(static_cast<float>(high - begin), static_cast<float>(length));
}

}  // namespace

Placement at_scale(const Placement& placement, std::uint32_t scale, std::uint32_t width,
                   std::uint32_t height) {
    Placement scaled = placement;
    if (scale == 1) return scaled;
    scale_axis(scale, width, scaled.x, scaled.width, scaled.left, scaled.right);
    scale_axis(scale, height, scaled.y, scaled.height, scaled.top, scaled.bottom);
    return scaled;
}

}  // namespace dl2
