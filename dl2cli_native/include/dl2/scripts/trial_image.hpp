// An image on trial: what each scan of it would weigh, and what it would look like if only some
// bits of its coefficients were known. Sizes of scans add up, and a picture depends on nothing but
// what is known, so that scripts can be judged without writing a file for each.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "dl2/io/bytes.hpp"
#include "dl2/jpeg/scan_script.hpp"
#include "dl2/scripts/similarity.hpp"

namespace dl2 {

constexpr std::size_t kRoles = 3;          // luma, Cb, Cr
constexpr std::size_t kBandSize = 64;      // coefficients of a block
constexpr std::size_t kBitPositions = 12;  // 0 to 10, and nothing known
constexpr std::uint8_t kUnknownBits = 11;

// The lowest known bit position of each coefficient (zigzag) of each role; kUnknownBits: none is.
using KnownBits = std::array<std::array<std::uint8_t, kBandSize>, kRoles>;

// A share of the squared error of an image, in units of squared pixel values, summed over it: by
// role, coefficient, and lowest known bit. See TrialImage::errors.
using ErrorTable = std::array<std::array<std::array<double, kBitPositions>, kBandSize>, kRoles>;

// One image's coefficients, in memory: 2 bytes each. Its methods may run in several threads at
// once.
class TrialImage {
  public:
    // Reads a JPEG with the verdict of the transcoder. Throws Error: data (damaged), unsupported
    // (12-bit or lossless; CMYK, which has no measure of likeness; coefficients beyond 10 bits).
    // Whatever else the transcoder takes is measured.
    TrialImage(Bytes jpeg, const Limits& limits);
    ~TrialImage();
    TrialImage(const TrialImage&) = delete;
    TrialImage& operator=(const TrialImage&) = delete;

    std::uint32_t width() const;
    std::uint32_t height() const;
    std::uint32_t components() const;
    std::uint64_t blocks(std::size_t role) const;  // of all components of a role
    std::size_t memory_bytes() const;

    // The bytes in front of the first scan.
    std::size_t header_bytes() const;

    // For each line of a script, what the transcoder would write for it: the bytes of all scans of
    // this image that the line stands for, their headers and tables included. 0 where it has none.
    // The lines need not make up a script. Throws Error(argument) for a line that is no scan.
    std::vector<std::uint32_t> scan_bytes(const ScanScript& lines) const;

    // The squared error that each role and coefficient adds to the colours of the pixels, if it is
    // known down to a bit: exact for 4:4:4 but for the rounding and clipping of samples. With a
    // `resize_short`, what is left of it after the image's short side was shrunk to that.
    ErrorTable errors(std::uint32_t resize_short) const;

    // How alike the image with `known` bits is to the whole one, each cut and resized as an
    // evaluation does (short side to resize_short, then size x size from the centre); with a
    // `size` of 0, as it is. SSIM and MS-SSIM, which take most of the time, only with `structure`;
    // else they are 0. Throws Error(argument) if that is smaller than SSIM's window.
    std::vector<Similarity> compare(const std::vector<KnownBits>& states, std::uint32_t size,
                                    std::uint32_t resize_short, bool structure = true) const;

    // The pixels that `compare` looks at.
    PlanarImage show(const KnownBits& known, std::uint32_t size, std::uint32_t resize_short) const;

  private:
    struct State;
    std::unique_ptr<const State> state_;
};

}  // namespace dl2
