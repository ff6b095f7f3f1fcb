// A view of bytes that somebody else owns (C++17 has no std::span), and the limits on input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dl2 {

struct Bytes {
    const std::uint8_t* data = nullptr;
    std::size_t size = 0;

    Bytes() = default;
    Bytes(const std::uint8_t* data_, std::size_t size_) : data(data_), size(size_) {}
    Bytes(const std::vector<std::uint8_t>& owner) : data(owner.data()), size(owner.size()) {}

    Bytes slice(std::size_t begin, std::size_t end) const { return {data + begin, end - begin}; }
    std::uint8_t operator[](std::size_t index) const { return data[index]; }
};

// Input is hostile until checked: these are compared with what a file promises before any memory
// is taken for it.
struct Limits {
    std::uint64_t max_pixels = 100'000'000;         // width x height; 600 MB of coefficients
    std::uint64_t max_bytes = 256ull << 20;         // of one source file
    std::uint32_t max_scans = 100;                  // of one JPEG
    std::uint64_t max_scan_pixels = 4'000'000'000;  // scans x pixels: bounds the time, too
};

}  // namespace dl2
