#include "dl2/io/crc32c.hpp"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace dl2 {
namespace {

constexpr std::uint32_t kPolynomial = 0x82F63B78;  // reflected 0x1EDC6F41

using Table = std::array<std::array<std::uint32_t, 256>, 8>;

// Slicing-by-8 tables: entry [k][b] is the CRC of byte b followed by k zero bytes.
constexpr Table make_table() {
    Table table{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? kPolynomial : 0);
        table[0][byte] = crc;
    }
    for (std::size_t slice = 1; slice < 8; ++slice) {
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const std::uint32_t previous = table[slice - 1][byte];
            table[slice][byte] = (previous >> 8) ^ table[0][previous & 0xFF];
        }
    }
    return table;
}

constexpr Table kTable = make_table();

// The CRC register after `zeros` more zero bytes, as a linear map on the four bytes of the
// register: what lets three streams be computed side by side and joined afterwards.
struct ZeroShift {
    std::array<std::array<std::uint32_t, 256>, 4> map{};

    explicit ZeroShift(std::size_t zeros) {
        for (std::uint32_t position = 0; position < 4; ++position) {
            for (std::uint32_t byte = 0; byte < 256; ++byte) {
                std::uint32_t crc = byte << (8 * position);
                for (std::size_t i = 0; i < zeros; ++i) crc = (crc >> 8) ^ kTable[0][crc & 0xFF];
                map[position][byte] = crc;
            }
        }
    }

    std::uint32_t operator()(std::uint32_t crc) const {
        return map[0][crc & 0xFF] ^ map[1][(crc >> 8) & 0xFF] ^ map[2][(crc >> 16) & 0xFF] ^
               map[3][crc >> 24];
    }
};

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) std::uint64_t step(std::uint64_t crc, const unsigned char* at) {
    std::uint64_t word;
    std::memcpy(&word, at, sizeof word);
    return _mm_crc32_u64(crc, word);
}

// Three streams of `lane` bytes side by side, which hide the latency of crc32, as often as they
// fit; takes them off `data` and `size`.
template <std::size_t lane>
__attribute__((target("sse4.2"))) std::uint64_t three_streams(const unsigned char*& data,
                                                              std::size_t& size,
                                                              std::uint64_t state) {
    static const ZeroShift shift(lane);
    for (; size >= 3 * lane; data += 3 * lane, size -= 3 * lane) {
        std::uint64_t second = 0;
        std::uint64_t third = 0;
        for (std::size_t i = 0; i < lane; i += 8) {
            state = step(state, data + i);
            second = step(second, data + lane + i);
            third = step(third, data + 2 * lane + i);
        }
        state = shift(static_cast<std::uint32_t>(state)) ^ second;
        state = shift(static_cast<std::uint32_t>(state)) ^ third;
    }
    return state;
}

__attribute__((target("sse4.2"))) std::uint32_t crc32c_sse42(const unsigned char* data,
                                                             std::size_t size, std::uint32_t crc) {
    std::uint64_t state = ~crc;
    state = three_streams<2048>(data, size, state);
    state = three_streams<256>(data, size, state);
    for (; size >= 8; data += 8, size -= 8) state = step(state, data);
    for (; size > 0; ++data, --size) {
        state = _mm_crc32_u8(static_cast<std::uint32_t>(state), *data);
    }
    return ~static_cast<std::uint32_t>(state);
}

#endif

}  // namespace

std::uint32_t crc32c_portable(const void* data, std::size_t size, std::uint32_t crc) {
    const auto* at = static_cast<const unsigned char*>(data);
    std::uint32_t state = ~crc;
    for (; size >= 8; at += 8, size -= 8) {
        std::uint32_t low;
        std::uint32_t high;
        std::memcpy(&low, at, 4);
        std::memcpy(&high, at + 4, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        low = __builtin_bswap32(low);
        high = __builtin_bswap32(high);
#endif
        low ^= state;
        state = kTable[7][low & 0xFF] ^ kTable[6][(low >> 8) & 0xFF] ^
                kTable[5][(low >> 16) & 0xFF] ^ kTable[4][low >> 24] ^ kTable[3][high & 0xFF] ^
                kTable[2][(high >> 8) & 0xFF] ^ kTable[1][(high >> 16) & 0xFF] ^
                kTable[0][high >> 24];
    }
    for (; size > 0; ++at, --size) state = (state >> 8) ^ kTable[0][(state ^ *at) & 0xFF];
    return ~state;
}

std::uint32_t crc32c(const void* data, std::size_t size, std::uint32_t crc) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return crc32c_sse42(static_cast<const unsigned char*>(data), size, crc);
    }
#endif
    return crc32c_portable(data, size, crc);
}

}  // namespace dl2
