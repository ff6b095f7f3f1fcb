// Quantised DCT coefficients in, the entropy-coded scans of a progressive JPEG out, byte for byte
// as libjpeg-turbo writes them with optimal Huffman tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "codec/coefficients.hpp"
#include "dl2/jpeg/scan_script.hpp"

namespace dl2::codec {

// Reusable, for one thread at a time. Keeps its memory from image to image: about 8 times the
// bytes that the largest component came to.
class ScanEncoder {
  public:
    ScanEncoder();
    ~ScanEncoder();
    ScanEncoder(const ScanEncoder&) = delete;
    ScanEncoder& operator=(const ScanEncoder&) = delete;

    // Appends the scans of `plan` to `out`, each with its Huffman tables in front of it, and sets
    // `ends[i]` to where scan i ends in `out`. `tables[c]` is the number of the Huffman tables, 0
    // or 1, of component c. False if a coefficient or a code is longer than JPEG allows, which
    // libjpeg has words for; `out` is then as it was.
    bool encode(const Coefficients& image, const std::uint8_t* tables,
                const std::vector<ImageScan>& plan, std::vector<std::uint8_t>& out,
                std::vector<std::size_t>& ends);

    // The bytes of each scan as `encode` would write it, tables and header included. The scans need
    // not make up an image: each stands for itself. False as with `encode`.
    bool measure(const Coefficients& image, const std::uint8_t* tables,
                 const std::vector<ImageScan>& plan, std::vector<std::size_t>& sizes);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace dl2::codec
