#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <utility>

#include "codec/encode/huffman.hpp"

using dl2::codec::Histogram;
using dl2::codec::HuffmanTable;

namespace {

// T.81, figures K.1 and K.2, word for word: the slow way to the length of each code.
std::array<int, 257> code_sizes(const Histogram& histogram) {
    std::array<long, 257> freq{};
    std::array<int, 257> size{};
    std::array<int, 257> others{};
    others.fill(-1);
    for (std::size_t i = 0; i < 256; ++i) freq[i] = histogram[i];
    freq[256] = 1;
    const auto rarest = [&](int except) {
        int found = -1;
        for (int i = 0; i < 257; ++i) {
            const auto at = static_cast<std::size_t>(i);
            if (freq[at] == 0 || i == except) continue;
            if (found < 0 || freq[at] <= freq[static_cast<std::size_t>(found)]) found = i;
        }
        return found;
    };
    while (true) {
        int a = rarest(-1);
        int b = rarest(a);
        if (b < 0) return size;
        freq[static_cast<std::size_t>(a)] += freq[static_cast<std::size_t>(b)];
        freq[static_cast<std::size_t>(b)] = 0;
        for (++size[static_cast<std::size_t>(a)]; others[static_cast<std::size_t>(a)] >= 0;
             ++size[static_cast<std::size_t>(a)]) {
            a = others[static_cast<std::size_t>(a)];
        }
        others[static_cast<std::size_t>(a)] = b;
        for (++size[static_cast<std::size_t>(b)]; others[static_cast<std::size_t>(b)] >= 0;
             ++size[static_cast<std::size_t>(b)]) {
            b = others[static_cast<std::size_t>(b)];
        }
    }
}

void check_table(const Histogram& histogram) {
    HuffmanTable table;
    const std::array<int, 257> size = code_sizes(histogram);
    const int longest = *std::max_element(size.begin(), size.end());
    if (longest > 32) {
        CHECK_FALSE(build_huffman(histogram, table));
        return;
    }
    REQUIRE(build_huffman(histogram, table));
    // The symbols come in the order of their unlimited sizes, then of their values.
    std::uint32_t next = 0;
    for (int bits = 1; bits <= 32; ++bits) {
        for (std::size_t symbol = 0; symbol < 256; ++symbol) {
            if (size[symbol] == bits) CHECK(table.values[next++] == symbol);
        }
    }
    CHECK(next == table.value_count);
    // Codes are prefix-free and leave the code that is all ones; none is longer than 16 bits.
    std::uint64_t used = 0;
    for (std::uint32_t length = 1; length <= 16; ++length) {
        used += std::uint64_t{table.bits[length]} << (16 - length);
        if (longest <= 16) {
            const auto own = std::count(size.begin(), size.end(), static_cast<int>(length));
            const bool reserved = static_cast<int>(length) == longest;  // its code is the last
            CHECK(table.bits[length] == own - (reserved ? 1 : 0));
        }
    }
    CHECK(used < 65536);
    for (std::size_t symbol = 0; symbol < 256; ++symbol) {
        CHECK((table.code[symbol] != 0) == (histogram[symbol] != 0));
        CHECK((table.code[symbol] & 255) <= 16);
    }
}

}  // namespace

TEST_CASE("Huffman tables are those of the standard's own procedure") {
    std::mt19937 random(3);
    for (int round = 0; round < 400; ++round) {
        Histogram histogram{};
        const unsigned symbols = 1 + random() % (round % 2 == 0 ? 16 : 255);
        const unsigned spread = random() % 20;  // many ties, or few
        for (unsigned i = 0; i < symbols; ++i) {
            histogram[random() % 256] = 1 + random() % (1u << spread);
        }
        check_table(histogram);
    }
}

TEST_CASE("codes of more than 16 bits are shortened, of more than 32 refused") {
    for (const unsigned symbols : {16u, 17u, 25u, 31u, 33u, 40u}) {
        Histogram histogram{};
        std::uint32_t a = 1;
        std::uint32_t b = 1;
        for (unsigned i = 0; i < symbols; ++i) {  // Fibonacci's numbers make the deepest tree
            histogram[i] = a;
            b = std::exchange(a, a + b);
        }
        check_table(histogram);
    }
    HuffmanTable table;
    CHECK_FALSE(build_huffman(Histogram{}, table));
}
