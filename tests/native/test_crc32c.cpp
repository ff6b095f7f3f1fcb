#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "dl2/io/crc32c.hpp"

TEST_CASE("the examples of RFC 3720, appendix B.4") {
    std::vector<unsigned char> bytes(32, 0x00);
    CHECK(dl2::crc32c(bytes.data(), bytes.size()) == 0x8A9136AAu);
    bytes.assign(32, 0xFF);
    CHECK(dl2::crc32c(bytes.data(), bytes.size()) == 0x62A8AB43u);
    for (unsigned i = 0; i < 32; ++i) bytes[i] = static_cast<unsigned char>(i);
    CHECK(dl2::crc32c(bytes.data(), bytes.size()) == 0x46DD794Eu);
    const std::string digits = "123456789";
    CHECK(dl2::crc32c(digits.data(), digits.size()) == 0xE3069283u);
    CHECK(dl2::crc32c(nullptr, 0) == 0u);
}

TEST_CASE("the fast and the portable version agree, at any length, alignment and cut") {
    std::mt19937 random(7);
    std::vector<unsigned char> bytes(40'000);
    for (auto& byte : bytes) byte = static_cast<unsigned char>(random());
    for (std::size_t size :
         {0u, 1u, 7u, 8u, 9u, 767u, 768u, 769u, 6143u, 6144u, 6145u, 12'289u, 39'000u}) {
        for (std::size_t offset = 0; offset < 9; ++offset) {
            const auto* at = bytes.data() + offset;
            const std::uint32_t expected = dl2::crc32c_portable(at, size);
            CHECK(dl2::crc32c(at, size) == expected);
            const std::size_t cut = size / 3;
            CHECK(dl2::crc32c(at + cut, size - cut, dl2::crc32c(at, cut)) == expected);
        }
    }
}
