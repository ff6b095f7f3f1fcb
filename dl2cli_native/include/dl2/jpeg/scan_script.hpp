// Scan scripts: how the coefficients of an image are divided into scans, and the scans into groups.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace dl2 {

// One scan of a progressive script, in the terms of T.81 annex G. The components of a *script* are
// roles: 0 luma, 1 Cb, 2 Cr. Each scan of the script begins a scan group of the dataset, or joins
// the group of the scan before it.
struct Scan {
    std::vector<std::uint8_t> components;
    std::uint8_t ss = 0;  // spectral selection, first and last coefficient in zigzag order
    std::uint8_t se = 0;
    std::uint8_t ah = 0;  // successive approximation, previous and this bit position
    std::uint8_t al = 0;
    bool joins = false;
};

using ScanScript = std::vector<Scan>;

// The number of scan groups.
std::size_t count_groups(const ScanScript& script);

// Which colours the components of an image are; decides which scans they belong to.
enum class ColorModel : std::uint8_t { gray, ycbcr, rgb, cmyk, ycck };

// The scans of one image, and the group (0-based) of each; the components are now the image's own.
struct ImageScan {
    Scan scan;
    std::uint32_t group = 0;
};

// Maps a script onto an image, by meaning: gray, RGB and CMYK components are all luma, so the same
// group holds the same frequencies and bits for each kind of image. Groups may come out empty or
// hold several scans. `h` and `v` are the sampling factors: an interleaved scan is divided where
// T.81 allows no more (10 blocks an MCU, B.2.3). `extra_bits` is for images with coefficients that
// are too large for one scan: the first scan of each coefficient leaves so many bits to refinement
// scans, which follow it in the same group.
std::vector<ImageScan> plan_scans(const ScanScript& script, ColorModel model,
                                  const std::array<std::uint8_t, 4>& h,
                                  const std::array<std::uint8_t, 4>& v,
                                  std::uint8_t extra_bits = 0);

}  // namespace dl2
