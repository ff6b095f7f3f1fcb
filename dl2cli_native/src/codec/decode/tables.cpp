#include "codec/decode/tables.hpp"

#include <algorithm>

namespace dl2::codec {
namespace {

constexpr std::uint32_t kFirstSize = 1u << kFirstBits;
constexpr std::uint32_t kMaxValueBits = 14;  // as in kernels/symbols.hpp
constexpr std::uint32_t kZeroRunSymbol = 0xF0;

void build(const HuffmanSpec& spec, SlowTable& slow) {
    std::uint32_t code = 0;
    std::uint32_t index = 0;
    for (unsigned length = 1; length <= 16; ++length) {
        slow.offset[length] = static_cast<std::int32_t>(index) - static_cast<std::int32_t>(code);
        code += spec.counts[length];
        index += spec.counts[length];
        slow.code_end[length] = code;
        code <<= 1;
    }
    std::copy(std::begin(spec.symbols), std::end(spec.symbols), slow.symbols);
}

// Calls use(symbol, length, code) for each code of up to `max_length` bits, in their order.
template <class Use>
void each_code(const HuffmanSpec& spec, unsigned max_length, const Use& use) {
    std::uint32_t code = 0;
    std::size_t index = 0;
    for (unsigned length = 1; length <= max_length; ++length, code <<= 1) {
        for (unsigned i = 0; i < spec.counts[length]; ++i, ++code) {
            use(std::uint32_t{spec.symbols[index++]}, length, code);
        }
    }
}

std::uint32_t reversed(std::uint32_t code, unsigned length) {
    std::uint32_t result = 0;
    for (unsigned bit = 0; bit < length; ++bit) result |= ((code >> bit) & 1) << (length - 1 - bit);
    return result;
}

// What a lookup of single symbols gives: bits 0-7 the length, 8-15 the run + 1 (0: the end of the
// block), 16-31 the value; 0 where that does not serve.
using Singles = std::uint32_t[kFirstSize];

void fill_value(std::uint32_t* out, std::uint32_t* end, std::uint32_t head, std::uint32_t size,
                std::uint32_t al) {
    const std::uint32_t values = 1u << size;
    const auto each = static_cast<std::uint32_t>(end - out) / values;
    for (std::uint32_t bits = 0; bits < values; ++bits, out += each) {
        const bool negative = bits < values / 2;  // T.81, F.2.2.1, EXTEND
        const std::uint32_t value = (negative ? bits - values + 1 : bits) << al;
        std::fill_n(out, each, head | value << 16);
    }
}

void fill_singles(const HuffmanSpec& spec, std::uint32_t al, Singles& singles, FirstTable& table) {
    std::uint32_t done = 0;
    each_code(spec, kFirstBits, [&](std::uint32_t symbol, unsigned length, std::uint32_t) {
        const std::uint32_t run = symbol >> 4;
        const std::uint32_t size = symbol & 15;
        const std::uint32_t count = kFirstSize >> length;
        if (size != 0 && length + size <= kFirstBits && size + al <= kMaxValueBits) {
            const std::uint32_t head = (length + size) | (run + 1) << 8;
            fill_value(singles + done, singles + done + count, head, size, al);
        } else {
            const std::uint32_t bits = size == 0 && symbol != kZeroRunSymbol ? run : size;
            const std::uint64_t code = (length + bits) | symbol << 8 | bits << 16 | length << 24;
            std::fill_n(singles + done, count, symbol == 0 ? length : 0);
            std::fill_n(table.pairs + done, count, kSpecial << 24 | code << 32);
        }
        done += count;
    });
    std::fill(singles + done, singles + kFirstSize, 0);
    std::fill(table.pairs + done, table.pairs + kFirstSize, kSpecial << 24);
}

std::uint64_t entry(std::uint64_t length, bool end, std::uint64_t move, std::uint64_t first,
                    std::uint64_t room, std::uint64_t value_1, std::uint64_t value_2) {
    return length | std::uint64_t{end} << 6 | move << 8 | first << 16 | room << 24 | value_1 << 32 |
           value_2 << 48;
}

// The entry that begins with the single symbol `a` at `index`: what follows is added as long as
// its bits are among the eleven. An end of block needs room for one coefficient more: a block that
// is full has none.
std::uint64_t join(const Singles& singles, std::uint32_t index, std::uint32_t a) {
    constexpr std::uint32_t kMask = kFirstSize - 1;
    const std::uint32_t length_a = a & 255;
    const std::uint32_t move_a = (a >> 8) & 255;
    if (move_a == 0) return entry(length_a, true, 1, 0, 1, 0, 0);
    const std::uint32_t b = singles[(index << length_a) & kMask];
    const std::uint32_t length_b = length_a + (b & 255);
    const std::uint32_t move_b = move_a + ((b >> 8) & 255);
    const std::uint32_t first = move_a - 1;
    if (b == 0 || length_b > kFirstBits) {
        return entry(length_a, false, move_a, first, move_a, a >> 16, a >> 16);
    }
    if (move_b == move_a) {
        return entry(length_b, true, move_a, first, move_a + 1, a >> 16, a >> 16);
    }
    const std::uint32_t c = singles[(index << length_b) & kMask];
    const std::uint32_t length_c = length_b + (c & 255);
    const bool end = c != 0 && (c >> 8) == 0 && length_c <= kFirstBits;
    return entry(end ? length_c : length_b, end, move_b, first, move_b + (end ? 1 : 0), a >> 16,
                 b >> 16);
}

}  // namespace

void build(const HuffmanSpec& spec, DcTable& table) {
    std::uint32_t* at = table.entries;
    each_code(spec, kDcBits, [&](std::uint32_t size, unsigned length, std::uint32_t) {
        const std::uint32_t count = 1u << (kDcBits - length);
        at = std::fill_n(at, count, (length + size) | size << 16 | length << 24);
    });
    std::fill(at, std::end(table.entries), 0);
    build(spec, table.slow);
}

void build(const HuffmanSpec& spec, std::uint32_t al, FirstTable& table) {
    Singles singles;
    fill_singles(spec, al, singles, table);
    for (std::uint32_t i = 0; i < kFirstSize; ++i) {
        if (singles[i] != 0) table.pairs[i] = join(singles, i, singles[i]);
    }
    build(spec, table.slow);
}

void build(const HuffmanSpec& spec, RefineTable& table) {
    std::fill(std::begin(table.entries), std::end(table.entries), 0);
    each_code(spec, kRefineBits, [&](std::uint32_t symbol, unsigned length, std::uint32_t code) {
        const std::uint32_t value = refine_entry(symbol, length);
        for (std::uint32_t i = reversed(code, length); i < (1u << kRefineBits); i += 1u << length) {
            table.entries[i] = value;
        }
    });
    build(spec, table.slow);
}

}  // namespace dl2::codec
