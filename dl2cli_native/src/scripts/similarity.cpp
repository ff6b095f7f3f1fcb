#include "dl2/scripts/similarity.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "dl2/error.hpp"

// Each loop over columns is compiled for AVX2, too. Both give the same numbers: no operation is
// fused or reordered.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define DL2_WIDE __attribute__((target_clones("avx2", "default"), optimize("O3")))
#else
#define DL2_WIDE
#endif

namespace dl2 {
namespace {

constexpr std::size_t kHalf = kSimilarityWindow / 2;
constexpr double kSigma = 1.5;
constexpr float kC1 = static_cast<float>(0.01 * 255 * 0.01 * 255);
constexpr float kC2 = static_cast<float>(0.03 * 255 * 0.03 * 255);
constexpr std::array<double, 5> kScaleWeights = {0.0448, 0.2856, 0.3001, 0.2363, 0.1333};
constexpr std::size_t kLanes = 8;  // partial sums of a row

// Half of the Gaussian window, its centre first.
std::array<float, kHalf + 1> window_taps() {
    std::array<double, kHalf + 1> taps{};
    double total = 0;
    for (std::size_t i = 0; i <= kHalf; ++i) {
        const auto distance = static_cast<double>(i);
        taps[i] = std::exp(-distance * distance / (2 * kSigma * kSigma));
        total += i == 0 ? taps[i] : 2 * taps[i];
    }
    std::array<float, kHalf + 1> result{};
    for (std::size_t i = 0; i <= kHalf; ++i) result[i] = static_cast<float>(taps[i] / total);
    return result;
}

const std::array<float, kHalf + 1> kTaps = window_taps();

// A plane of samples less 128: variances do not depend on an offset, and smaller numbers are exact.
struct Plane {
    std::size_t width = 0;
    std::size_t height = 0;
    std::vector<float> samples;

    const float* row(std::size_t y) const { return samples.data() + y * width; }
};

// Squares and products of a row of the two images.
DL2_WIDE void multiply(const float* x, const float* y, std::size_t count, float* squares,
                       float* products) {
    for (std::size_t i = 0; i < count; ++i) {
        squares[i] = x[i] * x[i] + y[i] * y[i];
        products[i] = x[i] * y[i];
    }
}

// The window along a row; gives count - 10 values.
DL2_WIDE void blur_row(const float* in, std::size_t count, const float* taps, float* out) {
    for (std::size_t i = 0; i + 2 * kHalf < count; ++i) {
        const float* const at = in + i + kHalf;
        float sum = at[0] * taps[0];
        sum += (at[-1] + at[1]) * taps[1];
        sum += (at[-2] + at[2]) * taps[2];
        sum += (at[-3] + at[3]) * taps[3];
        sum += (at[-4] + at[4]) * taps[4];
        sum += (at[-5] + at[5]) * taps[5];
        out[i] = sum;
    }
}

// The window down the eleven rows `in`.
DL2_WIDE void blur_column(const float* const* in, std::size_t count, const float* taps,
                          float* out) {
    for (std::size_t i = 0; i < count; ++i) {
        float sum = in[5][i] * taps[0];
        sum += (in[4][i] + in[6][i]) * taps[1];
        sum += (in[3][i] + in[7][i]) * taps[2];
        sum += (in[2][i] + in[8][i]) * taps[3];
        sum += (in[1][i] + in[9][i]) * taps[4];
        sum += (in[0][i] + in[10][i]) * taps[5];
        out[i] = sum;
    }
}

// SSIM, and its contrast-structure part, of each window of a row, from the blurred x, y, x^2 + y^2
// and xy; both go into `x` and `y`.
DL2_WIDE void moments(float* x, float* y, const float* squares, const float* products,
                      std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        const float cross = x[i] * y[i];
        const float means = x[i] * x[i] + y[i] * y[i];
        const float covariance = products[i] - cross;
        const float variances = squares[i] - means;
        const float contrast = (2 * covariance + kC2) / (variances + kC2);
        // The luminance part needs the true means: (m + 128)(n + 128), (m + 128)^2 + (n + 128)^2.
        const float offset = (x[i] + y[i]) * 256;
        const float luminance =
            (2 * cross + offset + (2 * 128 * 128 + kC1)) / (means + offset + (2 * 128 * 128 + kC1));
        x[i] = luminance * contrast;
        y[i] = contrast;
    }
}

double sum(const float* values, std::size_t count) {
    std::array<double, kLanes> lanes{};
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += values[i + lane];
    }
    for (; i < count; ++i) lanes[0] += values[i];
    return std::accumulate(lanes.begin(), lanes.end(), 0.0);
}

// What SSIM looks at, blurred along the rows: a ring of as many rows as the window has.
class Blurred {
  public:
    explicit Blurred(std::size_t width)
        : width_(width), inner_(width - 2 * kHalf), squares_(width), products_(width) {
        for (auto& quantity : rings_) quantity.resize(kSimilarityWindow * inner_);
        for (auto& row : rows_) row.resize(inner_);
    }

    void add(const float* x, const float* y, std::size_t at) {
        multiply(x, y, width_, squares_.data(), products_.data());
        const float* const sources[] = {x, y, squares_.data(), products_.data()};
        const std::size_t slot = at % kSimilarityWindow * inner_;
        for (std::size_t i = 0; i < rings_.size(); ++i) {
            blur_row(sources[i], width_, kTaps.data(), rings_[i].data() + slot);
        }
    }

    // Adds the sums over the windows whose last row is `at` to `full` and `contrast`.
    void look(std::size_t at, double& full, double& contrast) {
        for (std::size_t i = 0; i < rings_.size(); ++i) {
            const float* lines[kSimilarityWindow];
            for (std::size_t line = 0; line < kSimilarityWindow; ++line) {
                lines[line] = rings_[i].data() + (at + 1 + line) % kSimilarityWindow * inner_;
            }
            blur_column(lines, inner_, kTaps.data(), rows_[i].data());
        }
        moments(rows_[0].data(), rows_[1].data(), rows_[2].data(), rows_[3].data(), inner_);
        full += sum(rows_[0].data(), inner_);
        contrast += sum(rows_[1].data(), inner_);
    }

  private:
    std::size_t width_;
    std::size_t inner_;  // windows of a row
    std::vector<float> squares_;
    std::vector<float> products_;
    std::array<std::vector<float>, 4> rings_;
    std::array<std::vector<float>, 4> rows_;
};

// The means of SSIM and of its contrast-structure part.
std::array<double, 2> mean_moments(const Plane& x, const Plane& y) {
    Blurred blurred(x.width);
    double full = 0;
    double contrast = 0;
    for (std::size_t at = 0; at < x.height; ++at) {
        blurred.add(x.row(at), y.row(at), at);
        if (at + 1 >= kSimilarityWindow) blurred.look(at, full, contrast);
    }
    const auto windows = static_cast<double>((x.width - 2 * kHalf) * (x.height - 2 * kHalf));
    return {full / windows, contrast / windows};
}

// Averages 2 x 2 samples; an odd side is extended by a copy of its last line.
Plane halve(const Plane& plane) {
    Plane half{(plane.width + 1) / 2, (plane.height + 1) / 2, {}};
    half.samples.resize(half.width * half.height);
    for (std::size_t y = 0; y < half.height; ++y) {
        const float* const upper = plane.row(2 * y);
        const float* const lower = plane.row(std::min(2 * y + 1, plane.height - 1));
        float* const out = half.samples.data() + y * half.width;
        for (std::size_t x = 0; x < plane.width / 2; ++x) {
            out[x] = (upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1]) / 4;
        }
        if (plane.width % 2 != 0) {
            out[half.width - 1] = (upper[plane.width - 1] + lower[plane.width - 1]) / 2;
        }
    }
    return half;
}

std::size_t scales_for(std::size_t width, std::size_t height) {
    std::size_t scales = 0;
    for (std::size_t side = std::min(width, height);
         scales < kScaleWeights.size() && side >= kSimilarityWindow; side = (side + 1) / 2) {
        ++scales;
    }
    return scales;
}

Plane plane_of(const PlanarImage& image, std::size_t channel) {
    Plane plane{image.width, image.height, std::vector<float>(image.pixels())};
    const std::uint8_t* const in = image.samples.data() + channel * image.pixels();
    for (std::size_t i = 0; i < plane.samples.size(); ++i) {
        plane.samples[i] = static_cast<float>(in[i]) - 128;
    }
    return plane;
}

void compare_channel(Plane x, Plane y, Similarity& total) {
    const std::size_t scales = scales_for(x.width, x.height);
    const double weights =
        std::accumulate(kScaleWeights.begin(), kScaleWeights.begin() + scales, 0.0);
    double multi = 1;
    for (std::size_t scale = 0; scale < scales; ++scale) {
        if (scale > 0) {
            x = halve(x);
            y = halve(y);
        }
        const auto [full, contrast] = mean_moments(x, y);
        if (scale == 0) total.ssim += full;
        const double value = scale + 1 == scales ? full : contrast;
        multi *= std::pow(std::max(value, 0.0), kScaleWeights[scale] / weights);
    }
    total.ms_ssim += multi;
}

}  // namespace

Similarity compare(const PlanarImage& a, const PlanarImage& b, bool structure) {
    if (a.width != b.width || a.height != b.height || a.channels != b.channels) {
        throw Error(ErrorKind::argument, "images of different shapes cannot be compared");
    }
    if (std::min(a.width, a.height) < kSimilarityWindow || a.channels == 0) {
        throw Error(ErrorKind::argument, "an image is smaller than the window of SSIM");
    }
    std::uint64_t squares = 0;
    for (std::size_t i = 0; i < a.samples.size(); ++i) {
        const std::int32_t difference = a.samples[i] - b.samples[i];
        squares += static_cast<std::uint32_t>(difference * difference);
    }
    if (squares == 0) return {};
    Similarity total{0, 0, 0};
    for (std::size_t channel = 0; structure && channel < a.channels; ++channel) {
        compare_channel(plane_of(a, channel), plane_of(b, channel), total);
    }
    const double channels = a.channels;
    return {static_cast<double>(squares) / static_cast<double>(a.samples.size()),
            total.ssim / channels, total.ms_ssim / channels};
}

}  // namespace dl2
