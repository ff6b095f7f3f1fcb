// Which part of an image a sample shows, and how it is laid out: one function of (seed, epoch,
// sample, image size), so that every loader sees the same crops, whatever decodes them.
#pragma once

#include <cstdint>

namespace dl2 {

struct TransformOptions {
    bool train = true;                 // random resized crop and flip; else the centre
    std::uint32_t size = 224;          // of the square result, in pixels
    std::uint32_t resize_short = 256;  // validation: the short side before the centre crop
    double scale_min = 0.08;           // of the crop's area, as a share of the image's
    double scale_max = 1.0;
    double ratio_min = 3.0 / 4.0;  // width over height
    double ratio_max = 4.0 / 3.0;
    double flip_probability = 0.5;
};

// A box of whole pixels to decode, and which part of the box to resize to size x size.
struct Placement {
    std::uint32_t x = 0;
    std::uint32_t y = 0;
    std::uint32_t width = 0;
    std::uint32_t height = 0;
    float left = 0;  // the part, relative to the box; single precision, as Pillow takes it
    float top = 0;
    float right = 0;
    float bottom = 0;
    bool flip = false;  // left to right, after the resize
};

// The largest scale, 1, 2, 4 or 8, at 1 / which an image still shows the part with `size` pixels or
// more each way.
std::uint32_t largest_scale(const Placement& placement, std::uint32_t size);

// The same part of the image at 1 / scale of its size; `width` and `height` are the whole image's.
Placement at_scale(const Placement& placement, std::uint32_t scale, std::uint32_t width,
                   std::uint32_t height);

// Throws Error(argument) for options that make no sense.
void check_transform(const TransformOptions& options);

// Random numbers that depend on nothing but what they are for. Source of the mixing function:
// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
class SampleRandom {
  public:
    SampleRandom(std::uint64_t seed, std::uint64_t epoch, std::uint64_t sample);
    double uniform();  // in [0, 1)
    std::uint32_t below(std::uint32_t end);

  private:
    std::uint64_t state_;
};

// The crop follows Szegedy et al., "Going deeper with convolutions" (2015), section 6, in the form
// of torchvision's RandomResizedCrop: ten attempts, then the largest centre crop within the ratios.
Placement place(const TransformOptions& options, SampleRandom random, std::uint32_t width,
                std::uint32_t height);

}  // namespace dl2
