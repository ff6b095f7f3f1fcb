#include "codec/pixels.hpp"

#include <algorithm>
#include <cstring>

#include <cstdio>

#include <jpeglib.h>  // needs <cstdio> before it; for its version alone

namespace dl2::codec {
namespace {

// The kernels read and write up to 63 samples more than they are asked for, and read one before.
constexpr std::size_t kMargin = 64;
constexpr std::uint32_t kRowsAtOnce = 8;
constexpr std::size_t kPixelBytes = 4;

std::uint32_t divide_up(std::uint32_t a, std::uint32_t b) {
    return (a + b - 1) / b;
}

enum class Upsampling : std::uint8_t { none, h2v1, h2v2, h1v2, box };

// As jdsample.c chooses it: the triangle filters need three samples of a row.
Upsampling choose(const Coefficients& frame, const Component& component) {
    const std::uint32_t h = frame.max_h / component.h;
    const std::uint32_t v = frame.max_v / component.v;
    if (h == 1 && v == 1) return Upsampling::none;
    if (h == 1 && v == 2) return Upsampling::h1v2;
    if (h == 2 && v == 1 && component.samples_x > 2) return Upsampling::h2v1;
    if (h == 2 && v == 2 && component.samples_x > 2) return Upsampling::h2v2;
    return Upsampling::box;
}

// The samples of one component: rows of blocks in a ring, of which those stay that the rows of one
// MCU and the neighbours of these need.
class SamplePlane {
  public:
    // Sets up the plane for a region; `layout` gives memory, or just counts it.
    void lay_out(Layout& layout, const Coefficients& frame, const Component& component,
                 const DecodedPlane& decoded, const Region& region);

    // Makes what the output rows up to `y` (not included) need.
    void decode_to(std::uint32_t y, const PixelKernels& pixels, const EntropyKernels& entropy);

    // The samples of output row `y`, from the region's first column on.
    const std::uint8_t* row(std::uint32_t y, const PixelKernels& kernels);

  private:
    void decode_row(std::uint32_t block_row, const PixelKernels& pixels,
                    const EntropyKernels& entropy);
    std::uint8_t* sample_row(std::int64_t y) const;
    void repeat(const std::uint8_t* in);

    const Component* component_ = nullptr;
    const DecodedPlane* decoded_ = nullptr;
    Upsampling upsampling_ = Upsampling::none;
    std::uint32_t h_ = 1;  // output samples for each sample
    std::uint32_t v_ = 1;
    std::uint32_t first_block_ = 0;  // columns of blocks [first, end)
    std::uint32_t end_block_ = 0;
    std::uint32_t first_sample_ = 0;  // columns of samples that the region shows
    std::uint32_t end_sample_ = 0;
    std::uint32_t skip_ = 0;  // output columns before the region's first
    std::uint32_t ring_rows_ = 0;
    std::uint32_t next_row_ = 0;  // of blocks, to be decoded
    std::size_t stride_ = 0;
    std::uint8_t* samples_ = nullptr;
    std::uint8_t* upsampled_ = nullptr;
    std::uint16_t quant_[kBlockSize] = {};  // in natural order
};

void SamplePlane::lay_out(Layout& layout, const Coefficients& frame, const Component& component,
                          const DecodedPlane& decoded, const Region& region) {
    component_ = &component;
    decoded_ = &decoded;
    upsampling_ = choose(frame, component);
    h_ = frame.max_h / component.h;
    v_ = frame.max_v / component.v;
    first_sample_ = region.x0 / h_;
    end_sample_ = divide_up(region.x1, h_);
    skip_ = region.x0 - first_sample_ * h_;
    // The triangle filters look at the neighbours.
    const bool columns = upsampling_ == Upsampling::h2v1 || upsampling_ == Upsampling::h2v2;
    const bool rows = upsampling_ == Upsampling::h1v2 || upsampling_ == Upsampling::h2v2;
    const std::uint32_t begin = first_sample_ - (columns && first_sample_ > 0 ? 1 : 0);
    const std::uint32_t end = std::min(end_sample_ + (columns ? 1 : 0), component.samples_x);
    first_block_ = begin / 8;
    end_block_ = divide_up(end, 8);
    const std::uint32_t first_row = region.y0 / v_;
    next_row_ = (first_row - (rows && first_row > 0 ? 1 : 0)) / 8;
    ring_rows_ = component.v + 2u;
    stride_ = aligned(8 * std::size_t{end_block_ - first_block_ + 4}) + 2 * kMargin;
    samples_ = layout.array<std::uint8_t>(stride_ * 8 * ring_rows_);
    if (samples_ != nullptr) samples_ += kMargin;
    if (upsampling_ != Upsampling::none) {
        const std::size_t count = std::size_t{end_sample_ - first_sample_} * h_;
        upsampled_ = layout.array<std::uint8_t>(count + 2 * kMargin);
    }
    for (std::size_t i = 0; i < kBlockSize; ++i) quant_[kNaturalOrder[i]] = component.quant[i];
}

std::uint8_t* SamplePlane::sample_row(std::int64_t y) const {
    const auto last = static_cast<std::int64_t>(component_->samples_y) - 1;
    const auto at = static_cast<std::uint32_t>(std::clamp<std::int64_t>(y, 0, last));
    return samples_ + stride_ * (at / 8 % ring_rows_ * 8 + at % 8);
}

void SamplePlane::decode_row(std::uint32_t block_row, const PixelKernels& pixels,
                             const EntropyKernels& entropy) {
    std::uint8_t* const out = samples_ + stride_ * 8 * (block_row % ring_rows_);
    const std::size_t count = end_block_ - first_block_;
    const Coefficient* const dc =
        decoded_->dc == nullptr ? nullptr
                                : decoded_->dc + block_row * decoded_->dc_stride + first_block_;
    if (decoded_->has_ac) {
        Coefficient* const blocks = component_->block(first_block_, block_row);
        if (dc != nullptr) {
            RefinedBits refined[kPendingScans];
            decoded_->refined_from(std::size_t{block_row} * component_->blocks_x + first_block_,
                                   refined);
            entropy.apply(blocks, count, refined, decoded_->pending, dc);
        }
        pixels.idct(blocks, count, quant_, out, stride_);
    } else {
        pixels.idct_dc(dc, count, quant_[0], out, stride_);
    }
    // At the image's edges its last samples are their own neighbours.
    const std::size_t width = component_->samples_x - 8 * first_block_;
    for (std::size_t y = 0; y < 8; ++y) {
        std::uint8_t* const row = out + stride_ * y;
        row[-1] = row[0];
        if (width <= 8 * count) row[width] = row[width - 1];
    }
}

void SamplePlane::decode_to(std::uint32_t y, const PixelKernels& pixels,
                            const EntropyKernels& entropy) {
    const bool rows = upsampling_ == Upsampling::h1v2 || upsampling_ == Upsampling::h2v2;
    const std::uint32_t samples =
        std::min(divide_up(y, v_) + (rows ? 1 : 0), component_->samples_y);
    const std::uint32_t end = divide_up(samples, 8);
    for (; next_row_ < end; ++next_row_) decode_row(next_row_, pixels, entropy);
}

void SamplePlane::repeat(const std::uint8_t* in) {
    std::uint8_t* out = upsampled_;
    for (std::uint32_t i = first_sample_; i < end_sample_; ++i) {
        out = std::fill_n(out, h_, *in++);
    }
}

const std::uint8_t* SamplePlane::row(std::uint32_t y, const PixelKernels& kernels) {
    const std::size_t first = first_sample_ - 8 * first_block_;
    const std::size_t count = end_sample_ - first_sample_;
    const std::int64_t near = y / v_;
    const bool lower = y % v_ != 0;
    const std::uint8_t* const in = sample_row(near) + first;
    const std::uint8_t* const far = sample_row(lower ? near + 1 : near - 1) + first;
    switch (upsampling_) {
        case Upsampling::none:
            return in;
        case Upsampling::h2v1:
            kernels.h2v1(in, count, upsampled_);
            break;
        case Upsampling::h2v2:
            kernels.h2v2(in, far, count, upsampled_);
            break;
        case Upsampling::h1v2:
            kernels.h1v2(in, far, count, lower, upsampled_);
            break;
        case Upsampling::box:
            repeat(in);
            break;
    }
    return upsampled_ + skip_;
}

// ---- Colours

void gray_row(const std::uint8_t* in, std::size_t count, std::uint8_t* out) {
    for (std::size_t i = 0; i < count; ++i, out += kPixelBytes) {
        out[0] = out[1] = out[2] = in[i];
        out[3] = 255;
    }
}

void rgb_row(const std::uint8_t* const* in, std::size_t count, std::uint8_t* out) {
    for (std::size_t i = 0; i < count; ++i, out += kPixelBytes) {
        for (std::size_t c = 0; c < 3; ++c) out[c] = in[c][i];
        out[3] = 255;
    }
}

void cmyk_row(const std::uint8_t* const* in, std::size_t count, std::uint8_t* out) {
    for (std::size_t i = 0; i < count; ++i, out += kPixelBytes) {
        for (std::size_t c = 0; c < 4; ++c) out[c] = in[c][i];
    }
}

// The inverse of the RGB that YCC gives; K as it is.
void ycck_row(const PixelKernels& kernels, const std::uint8_t* const* in, std::size_t count,
              std::uint8_t* out) {
    kernels.ycc_to_rgbx(in[0], in[1], in[2], count, out);
    for (std::size_t i = 0; i < count; ++i, out += kPixelBytes) {
        for (std::size_t c = 0; c < 3; ++c) out[c] = static_cast<std::uint8_t>(255 - out[c]);
        out[3] = in[3][i];
    }
}

void color_row(const PixelKernels& kernels, ColorSpace color, const std::uint8_t* const* in,
               std::size_t count, std::uint8_t* out) {
    switch (color) {
        case ColorSpace::gray:
            return gray_row(in[0], count, out);
        case ColorSpace::ycbcr:
            return kernels.ycc_to_rgbx(in[0], in[1], in[2], count, out);
        case ColorSpace::rgb:
            return rgb_row(in, count, out);
        case ColorSpace::cmyk:
            return cmyk_row(in, count, out);
        case ColorSpace::ycck:
            return ycck_row(kernels, in, count, out);
    }
}

}  // namespace

// libjpeg-turbo has filtered 4:4:0 since 2.1; before, it repeated rows.
bool can_upsample(const ParsedJpeg& jpeg) {
#if defined(LIBJPEG_TURBO_VERSION_NUMBER) && LIBJPEG_TURBO_VERSION_NUMBER >= 2001000
    (void)jpeg;
    return true;
#else
    const Coefficients& frame = jpeg.frame;
    return std::none_of(
        frame.components, frame.components + frame.component_count,
        [&](const Component& component) { return choose(frame, component) == Upsampling::h1v2; });
#endif
}

void write_pixels(const ParsedJpeg& jpeg, const DecodedScans& scans, const Region& region,
                  Memory& memory, RowSink& sink) {
    const PixelKernels& pixels = pixel_kernels();
    const EntropyKernels& entropy = entropy_kernels();
    const Coefficients& frame = jpeg.frame;
    const std::size_t width = region.x1 - region.x0;
    const std::size_t stride = aligned(kPixelBytes * (width + kMargin));
    SamplePlane planes[kMaxComponents];
    std::uint8_t* out = nullptr;
    const auto lay_out = [&](Layout layout) {
        for (std::uint32_t i = 0; i < frame.component_count; ++i) {
            planes[i].lay_out(layout, frame, frame.components[i], scans.planes[i], region);
        }
        out = layout.array<std::uint8_t>(stride * kRowsAtOnce);
        return layout.used();
    };
    const std::size_t bytes = lay_out(Layout());
    lay_out(Layout(memory.take(bytes)));

    for (std::uint32_t y = region.y0; y < region.y1;) {
        // Not across a row of MCUs, for which the rings have room.
        const std::uint32_t count = std::min(kRowsAtOnce - y % kRowsAtOnce, region.y1 - y);
        for (std::uint32_t i = 0; i < frame.component_count; ++i) {
            planes[i].decode_to(y + count, pixels, entropy);
        }
        for (std::uint32_t row = 0; row < count; ++row) {
            const std::uint8_t* in[kMaxComponents] = {};
            for (std::uint32_t i = 0; i < frame.component_count; ++i) {
                in[i] = planes[i].row(y + row, pixels);
            }
            color_row(pixels, jpeg.color, in, width, out + stride * row);
        }
        sink.rows(out, stride, count);
        y += count;
    }
}

}  // namespace dl2::codec
