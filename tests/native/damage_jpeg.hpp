// Damage of many kinds, done to JPEGs: the same for the same seed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace dl2_test {

using JpegBytes = std::vector<std::uint8_t>;

// A position that is likely to matter: anywhere, or in the bytes of a marker segment.
inline std::size_t damage_place(std::mt19937& random, const JpegBytes& jpeg) {
    const std::size_t any = random() % jpeg.size();
    if (random() % 3 != 0) return any;
    for (std::size_t i = any; i + 1 < jpeg.size(); ++i) {
        const bool marker = jpeg[i] == 0xFF && jpeg[i + 1] != 0 && jpeg[i + 1] != 0xFF;
        if (marker) return std::min(jpeg.size() - 1, i + random() % 24);
    }
    return any;
}

inline void flip_bits(std::mt19937& random, JpegBytes& jpeg) {
    for (unsigned count = 1 + random() % 3; count > 0; --count) {
        jpeg[damage_place(random, jpeg)] ^= static_cast<std::uint8_t>(1u << (random() % 8));
    }
}

inline void set_bytes(std::mt19937& random, JpegBytes& jpeg) {
    const std::uint8_t values[] = {0x00, 0xFF, 0x01, 0x7F, 0x80, 0xD0, 0xD9, 0xDA};
    for (unsigned count = 1 + random() % 3; count > 0; --count) {
        const bool chosen = random() % 2 == 0;
        jpeg[damage_place(random, jpeg)] =
            chosen ? values[random() % 8] : static_cast<std::uint8_t>(random());
    }
}

inline void cut(std::mt19937& random, JpegBytes& jpeg) {
    const std::size_t begin = damage_place(random, jpeg);
    const std::size_t left = jpeg.size() - begin;
    const std::size_t count =
        random() % 2 == 0 ? left : std::min<std::size_t>(left, 1 + random() % 9);
    const auto at = jpeg.begin() + static_cast<std::ptrdiff_t>(begin);
    jpeg.erase(at, at + static_cast<std::ptrdiff_t>(count));
}

// Puts a piece of another image, or of the same, in.
inline void splice(std::mt19937& random, JpegBytes& jpeg, const JpegBytes& other) {
    const std::size_t from = damage_place(random, other);
    const std::size_t count = std::min<std::size_t>(other.size() - from, 1 + random() % 300);
    const JpegBytes piece(other.begin() + static_cast<std::ptrdiff_t>(from),
                          other.begin() + static_cast<std::ptrdiff_t>(from + count));
    const std::size_t to = damage_place(random, jpeg);
    const auto at = jpeg.begin() + static_cast<std::ptrdiff_t>(to);
    if (random() % 2 == 0) {
        jpeg.insert(at, piece.begin(), piece.end());
    } else {
        std::copy_n(piece.begin(), std::min(piece.size(), jpeg.size() - to), at);
    }
}

inline JpegBytes damage(std::mt19937& random, JpegBytes jpeg, const JpegBytes& other) {
    for (unsigned count = 1 + random() % 2; count > 0 && !jpeg.empty(); --count) {
        switch (random() % 5) {
            case 0:
            case 1:
                flip_bits(random, jpeg);
                break;
            case 2:
                set_bytes(random, jpeg);
                break;
            case 3:
                cut(random, jpeg);
                break;
            default:
                splice(random, jpeg, other);
        }
    }
    return jpeg;
}

}  // namespace dl2_test
