#include "codec/decode/reduced_idct.hpp"

#include <algorithm>

namespace dl2::codec {
namespace {

// With 13 bits of fraction, as in jidctred.c.
constexpr int kFix0_211 = 1730;
constexpr int kFix0_509 = 4176;
constexpr int kFix0_601 = 4926;
constexpr int kFix0_720 = 5906;
constexpr int kFix0_765 = 6270;
constexpr int kFix0_850 = 6967;
constexpr int kFix0_899 = 7373;
constexpr int kFix1_061 = 8697;
constexpr int kFix1_272 = 10426;
constexpr int kFix1_451 = 11893;
constexpr int kFix1_847 = 15137;
constexpr int kFix2_172 = 17799;
constexpr int kFix2_562 = 20995;
constexpr int kFix3_624 = 29692;
constexpr int kConstBits = 13;
constexpr int kPass1Bits = 2;

// As libjpeg-turbo's vector code: 16 bits where numbers are stored, sums that wrap at 32.
std::int32_t wrap16(std::int32_t value) {
    return static_cast<std::int16_t>(static_cast<std::uint16_t>(value));
}

std::int32_t sum(std::int32_t a, std::int32_t b) {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
}

std::int32_t scaled(std::int32_t value, int bits) {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(value) << bits);
}

std::int32_t descale(std::int32_t value, int bits) {
    return std::clamp(sum(value, 1 << (bits - 1)) >> bits, -32768, 32767);
}

std::uint8_t sample(std::int32_t value) {
    return static_cast<std::uint8_t>(std::clamp(value, -128, 127) + 128);
}

// Eight numbers, `step` apart, to four.
void four(const std::int32_t* in, int step, int bits, std::int32_t (&out)[4]) {
    const std::int32_t even = scaled(in[0], kConstBits + 1);
    const std::int32_t odd = in[2 * step] * kFix1_847 + in[6 * step] * -kFix0_765;
    const std::int32_t tmp10 = sum(even, odd);
    const std::int32_t tmp12 = sum(even, -odd);
    const std::int32_t tmp0 = sum(in[7 * step] * -kFix0_211 + in[5 * step] * kFix1_451,
                                  in[3 * step] * -kFix2_172 + in[1 * step] * kFix1_061);
    const std::int32_t tmp2 = sum(in[7 * step] * -kFix0_509 + in[5 * step] * -kFix0_601,
                                  in[3 * step] * kFix0_899 + in[1 * step] * kFix2_562);
    out[0] = descale(sum(tmp10, tmp2), bits + 1);
    out[1] = descale(sum(tmp12, tmp0), bits + 1);
    out[2] = descale(sum(tmp12, -tmp0), bits + 1);
    out[3] = descale(sum(tmp10, -tmp2), bits + 1);
}

// Eight numbers to two.
void two(const std::int32_t* in, int step, int bits, std::int32_t (&out)[2]) {
    const std::int32_t even = scaled(in[0], kConstBits + 2);
    const std::int32_t odd = sum(in[7 * step] * -kFix0_720 + in[5 * step] * kFix0_850,
                                 in[3 * step] * -kFix1_272 + in[1 * step] * kFix3_624);
    out[0] = descale(sum(even, odd), bits + 2);
    out[1] = descale(sum(even, -odd), bits + 2);
}

template <std::uint32_t kSize>
void transform(const std::int32_t* in, int step, int bits, std::int32_t (&out)[kSize]) {
    if constexpr (kSize == 4) {
        four(in, step, bits, out);
    } else {
        two(in, step, bits, out);
    }
}

// The second pass, over the rows that the first one made.
template <std::uint32_t kSize>
void finish(const std::int32_t (&rows)[kSize][8], std::uint8_t* out, std::size_t stride) {
    for (std::uint32_t y = 0; y < kSize; ++y) {
        std::int32_t result[kSize];
        transform<kSize>(rows[y], 1, kConstBits + kPass1Bits + 3, result);
        for (std::uint32_t x = 0; x < kSize; ++x) out[stride * y + x] = sample(result[x]);
    }
}

// Whether the coefficients of rows 1, 2, 3, 5, 6 and 7 are zero.
bool only_first_row(const Coefficient* zigzag) {
    for (std::size_t k = 1; k < kBlockSize; ++k) {
        const unsigned row = kNaturalOrder[k] / 8u;
        if (zigzag[k] != 0 && row != 0 && row != 4) return false;
    }
    return true;
}

template <std::uint32_t kSize>
void block(const Coefficient* coefficients, const std::uint16_t* quant, std::uint8_t* out,
           std::size_t stride) {
    std::int32_t values[kBlockSize];
    for (std::size_t k = 0; k < kBlockSize; ++k) {
        const std::uint8_t place = kNaturalOrder[k];
        values[place] = wrap16(coefficients[k] * quant[place]);
    }
    std::int32_t rows[kSize][8];
    // libjpeg's vector code has a shortcut for 4 x 4 samples that wraps where the long way
    // saturates; row 4 is not used.
    if (kSize == 4 && only_first_row(coefficients)) {
        for (auto& row : rows) {
            for (int column = 0; column < 8; ++column) {
                row[column] = wrap16(scaled(values[column], kPass1Bits));
            }
        }
        return finish<kSize>(rows, out, stride);
    }
    for (int column = 0; column < 8; ++column) {
        std::int32_t result[kSize];
        transform<kSize>(values + column, 8, kConstBits - kPass1Bits, result);
        for (std::uint32_t y = 0; y < kSize; ++y) rows[y][column] = result[y];
    }
    finish<kSize>(rows, out, stride);
}

std::uint8_t flat(Coefficient dc, std::uint32_t quant) {
    return sample((dc * static_cast<std::int32_t>(quant) + 4) >> 3);
}

// One sample a block libjpeg computes in C, whose table of samples repeats after 1024 numbers.
std::uint8_t single(Coefficient dc, std::uint32_t quant) {
    const std::int32_t value = (dc * static_cast<std::int32_t>(quant) + 4) >> 3;
    return sample(((value + 512) & 1023) - 512);
}

}  // namespace

void reduced_idct(const Coefficient* blocks, std::size_t count, const std::uint16_t* quant,
                  std::uint32_t size, std::uint8_t* out, std::size_t stride) {
    for (std::size_t i = 0; i < count; ++i, blocks += kBlockSize, out += size) {
        switch (size) {
            case 4:
                block<4>(blocks, quant, out, stride);
                break;
            case 2:
                block<2>(blocks, quant, out, stride);
                break;
            default:
                *out = single(blocks[0], quant[0]);
        }
    }
}

void reduced_idct_dc(const Coefficient* dc, std::size_t count, std::uint32_t quant,
                     std::uint32_t size, std::uint8_t* out, std::size_t stride) {
    for (std::size_t i = 0; i < count; ++i, out += size) {
        for (std::uint32_t y = 0; y < size; ++y) {
            std::fill_n(out + stride * y, size,
                        size == 1 ? single(dc[i], quant) : flat(dc[i], quant));
        }
    }
}

}  // namespace dl2::codec
