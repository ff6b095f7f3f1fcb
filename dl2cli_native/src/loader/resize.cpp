#include "dl2/loader/resize.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#define DL2_X86 1
#endif

namespace dl2 {
namespace {

constexpr int kPrecision = 22;
constexpr std::int32_t kHalf = 1 << (kPrecision - 1);

std::atomic<bool> portable_only{false};

std::uint8_t clip(std::int32_t value) {
    return static_cast<std::uint8_t>(std::clamp(value >> kPrecision, 0, 255));
}

void horizontal_portable(const ResizeAxis& axis, const std::uint8_t* in, std::uint8_t* out,
                         bool flip) {
    for (std::uint32_t x = 0; x < axis.out_size; ++x) {
        const std::uint8_t* pixel = in + std::size_t{4} * (axis.first[x] - axis.begin);
        const std::int32_t* weight = axis.weights.data() + std::size_t{axis.taps} * x;
        std::int32_t sum[4] = {kHalf, kHalf, kHalf, kHalf};
        for (std::uint32_t tap = 0; tap < axis.count[x]; ++tap, pixel += 4) {
            for (int channel = 0; channel < 4; ++channel) {
                sum[channel] += pixel[channel] * weight[tap];
            }
        }
        std::uint8_t* target = out + std::size_t{4} * (flip ? axis.out_size - 1 - x : x);
        for (int channel = 0; channel < 4; ++channel) target[channel] = clip(sum[channel]);
    }
}

void vertical_portable(const std::uint8_t* in, std::size_t stride, const std::int32_t* weights,
                       std::uint32_t count, std::size_t begin, std::size_t end, std::uint8_t* out) {
    for (std::size_t x = begin; x < end; ++x) {
        std::int32_t sum = kHalf;
        for (std::uint32_t tap = 0; tap < count; ++tap) sum += in[tap * stride + x] * weights[tap];
        out[x] = clip(sum);
    }
}

#ifdef DL2_X86
bool fast() {
    static const bool avx2 = __builtin_cpu_supports("avx2") != 0;
    return avx2 && !portable_only.load(std::memory_order_relaxed);
}

__attribute__((target("avx2"))) __m128i load_pixel(const std::uint8_t* at) {
    std::int32_t value;
    std::memcpy(&value, at, sizeof value);
    return _mm_cvtsi32_si128(value);
}

// 8 sums of 32 bits to 8 bytes, in order.
__attribute__((target("avx2"))) __m128i to_bytes(__m256i sums) {
    const __m256i values = _mm256_srai_epi32(sums, kPrecision);
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
    return _mm_packus_epi16(words, words);
}

// Two rows at once: 4 channels of each fill a register.
__attribute__((target("avx2"))) void horizontal_avx2(const ResizeAxis& axis, const std::uint8_t* in,
                                                     std::size_t stride, std::uint8_t* out,
                                                     std::size_t out_stride, bool flip) {
    for (std::uint32_t x = 0; x < axis.out_size; ++x) {
        const std::uint8_t* pixel = in + std::size_t{4} * (axis.first[x] - axis.begin);
        const std::int32_t* weight = axis.weights.data() + std::size_t{axis.taps} * x;
        __m256i sum = _mm256_set1_epi32(kHalf);
        for (std::uint32_t tap = 0; tap < axis.count[x]; ++tap, pixel += 4) {
            const __m128i both = _mm_unpacklo_epi32(load_pixel(pixel), load_pixel(pixel + stride));
            const __m256i wide = _mm256_cvtepu8_epi32(both);
            sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(wide, _mm256_set1_epi32(weight[tap])));
        }
        std::uint8_t* target = out + std::size_t{4} * (flip ? axis.out_size - 1 - x : x);
        const std::int64_t bytes = _mm_cvtsi128_si64(to_bytes(sum));
        std::memcpy(target, &bytes, 4);
        std::memcpy(target + out_stride, reinterpret_cast<const char*>(&bytes) + 4, 4);
    }
}

__attribute__((target("avx2"))) std::size_t vertical_avx2(const std::uint8_t* in,
                                                          std::size_t stride,
                                                          const std::int32_t* weights,
                                                          std::uint32_t count, std::size_t width,
                                                          std::uint8_t* out) {
    std::size_t x = 0;
    for (; x + 8 <= width; x += 8) {
        __m256i sum = _mm256_set1_epi32(kHalf);
        for (std::uint32_t tap = 0; tap < count; ++tap) {
            const __m128i bytes =
                _mm_loadl_epi64(reinterpret_cast<const __m128i*>(in + tap * stride + x));
            sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(bytes),
                                                           _mm256_set1_epi32(weights[tap])));
        }
        _mm_storel_epi64(reinterpret_cast<__m128i*>(out + x), to_bytes(sum));
    }
    return x;
}
#endif

}  // namespace

void ResizeAxis::set(std::uint32_t in_size, float from, float to, std::uint32_t new_out_size) {
    out_size = new_out_size;
    const double scale = static_cast<double>(to - from) / out_size;
    const double filter_scale = std::max(scale, 1.0);
    const double support = filter_scale;  // the bilinear filter's is 1
    taps = static_cast<std::uint32_t>(std::ceil(support)) * 2 + 1;
    first.resize(out_size);
    count.resize(out_size);
    weights.assign(std::size_t{out_size} * taps, 0);
    std::vector<double> exact(taps);
    for (std::uint32_t i = 0; i < out_size; ++i) {
        const double center = from + (i + 0.5) * scale;
        const double low = std::max(center - support + 0.5, 0.0);
        const double high = std::min(center + support + 0.5, static_cast<double>(in_size));
        first[i] = static_cast<std::uint32_t>(low);
        count[i] = static_cast<std::uint32_t>(high) - first[i];
        double total = 0;
        for (std::uint32_t tap = 0; tap < count[i]; ++tap) {
            const double distance = std::abs((static_cast<double>(tap) + first[i] - center + 0.5) *
                                             (1.0 / filter_scale));
            exact[tap] = distance < 1 ? 1 - distance : 0;
            total += exact[tap];
        }
        std::int32_t* weight = weights.data() + std::size_t{taps} * i;
        for (std::uint32_t tap = 0; tap < count[i]; ++tap) {
            const double share = total != 0 ? exact[tap] / total : exact[tap];
            weight[tap] = static_cast<std::int32_t>(0.5 + share * (1 << kPrecision));
        }
    }
    begin = first.front();
    end = first.back() + count.back();
}

void Resizer::start(const Placement& placement, std::uint32_t size) {
    columns_.set(placement.width, placement.left, placement.right, size);
    rows_.set(placement.height, placement.top, placement.bottom, size);
    flip_ = placement.flip;
    pushed_ = 0;
    between_.resize(std::size_t{4} * size * (rows_.end - rows_.begin));
}

void Resizer::push(const std::uint8_t* rgbx, std::size_t stride, std::uint32_t count) {
    const std::size_t out_stride = std::size_t{4} * columns_.out_size;
    count = std::min(count, rows_.end - rows_.begin - pushed_);
    std::uint8_t* out = between_.data() + out_stride * pushed_;
    pushed_ += count;
#ifdef DL2_X86
    if (fast()) {
        for (; count >= 2; count -= 2, rgbx += 2 * stride, out += 2 * out_stride) {
            horizontal_avx2(columns_, rgbx, stride, out, out_stride, flip_);
        }
    }
#endif
    for (; count > 0; --count, rgbx += stride, out += out_stride) {
        horizontal_portable(columns_, rgbx, out, flip_);
    }
}

void Resizer::row(std::uint32_t y, std::uint8_t* out) const {
    const std::size_t stride = std::size_t{4} * columns_.out_size;
    const std::uint8_t* in = between_.data() + stride * (rows_.first[y] - rows_.begin);
    const std::int32_t* weights = rows_.weights.data() + std::size_t{rows_.taps} * y;
    std::size_t done = 0;
#ifdef DL2_X86
    if (fast()) done = vertical_avx2(in, stride, weights, rows_.count[y], stride, out);
#endif
    vertical_portable(in, stride, weights, rows_.count[y], done, stride, out);
}

void use_portable_resize(bool portable) {
    portable_only.store(portable, std::memory_order_relaxed);
}

}  // namespace dl2
