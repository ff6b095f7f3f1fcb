#include "codec/decode/pixels.hpp"

#include "codec/decode/reduced_idct.hpp"

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

// The shape of a component's samples in an image that is shown at 1 / scale of its size.
struct Shape {
    std::uint32_t block;          // samples of a block, each way
    std::uint32_t h, v;           // output samples for each sample
    std::uint32_t width, height;  // samples of the component
    Upsampling upsampling;
};

// As jdsample.c chooses it: the triangle filters need three samples of a row, and are not used
// where a block is one sample.
Upsampling choose(std::uint32_t h, std::uint32_t v, std::uint32_t width, std::uint32_t scale) {
    if (h == 1 && v == 1) return Upsampling::none;
    if (scale == 8) return Upsampling::box;
    if (h == 1 && v == 2) return Upsampling::h1v2;
    if (h == 2 && v == 1 && width > 2) return Upsampling::h2v1;
    if (h == 2 && v == 2 && width > 2) return Upsampling::h2v2;
    return Upsampling::box;
}

// As jdmaster.c calculates it: at a smaller scale, subsampled components get larger blocks than
// others, as long as that saves their upsampling.
Shape find_shape(const Coefficients& frame, const Component& component, std::uint32_t scale) {
    const std::uint32_t smallest = 8 / scale;
    Shape shape{};
    shape.block = smallest;
    while (shape.block < 8 && frame.max_h * smallest % (component.h * shape.block * 2) == 0 &&
           frame.max_v * smallest % (component.v * shape.block * 2) == 0) {
        shape.block *= 2;
    }
    shape.h = frame.max_h * smallest / (component.h * shape.block);
    shape.v = frame.max_v * smallest / (component.v * shape.block);
    shape.width = divide_up(frame.width * component.h * shape.block, frame.max_h * 8);
    shape.height = divide_up(frame.height * component.v * shape.block, frame.max_v * 8);
    shape.upsampling = choose(shape.h, shape.v, shape.width, scale);
    return shape;
}

// The samples of one component: rows of blocks in a ring, of which those stay that the rows of one
// MCU and the neighbours of these need.
class SamplePlane {
  public:
    // Sets up the plane for a region; `layout` gives memory, or just counts it.
    void lay_out(Layout& layout, const Coefficients& frame, const Component& component,
                 const DecodedPlane& decoded, const Region& region, std::uint32_t scale);

    // Makes what the output rows up to `y` (not included) need.
    void decode_to(std::uint32_t y, const PixelKernels& pixels, const EntropyKernels& entropy);

    // The samples of output row `y`, from the region's first column on.
    const std::uint8_t* row(std::uint32_t y, const PixelKernels& kernels);

  private:
    void decode_row(std::uint32_t block_row, const PixelKernels& pixels,
                    const EntropyKernels& entropy);
    std::uint8_t* sample_row(std::int64_t y) const;
    bool filters_columns() const {
        return shape_.upsampling == Upsampling::h2v1 || shape_.upsampling == Upsampling::h2v2;
    }
    bool filters_rows() const {
        return shape_.upsampling == Upsampling::h1v2 || shape_.upsampling == Upsampling::h2v2;
    }
    void repeat(const std::uint8_t* in);

    const Component* component_ = nullptr;
    const DecodedPlane* decoded_ = nullptr;
    Shape shape_{};
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
                          const DecodedPlane& decoded, const Region& region, std::uint32_t scale) {
    component_ = &component;
    decoded_ = &decoded;
    shape_ = find_shape(frame, component, scale);
    first_sample_ = region.x0 / shape_.h;
    end_sample_ = divide_up(region.x1, shape_.h);
    skip_ = region.x0 - first_sample_ * shape_.h;
    // The triangle filters look at the neighbours.
    const std::uint32_t begin = first_sample_ - (filters_columns() && first_sample_ > 0 ? 1 : 0);
    const std::uint32_t end = std::min(end_sample_ + (filters_columns() ? 1 : 0), shape_.width);
    first_block_ = begin / shape_.block;
    end_block_ = divide_up(end, shape_.block);
    const std::uint32_t first_row = region.y0 / shape_.v;
    next_row_ = (first_row - (filters_rows() && first_row > 0 ? 1 : 0)) / shape_.block;
    // The rows that come at once, and a neighbour on each side, wherever blocks begin.
    ring_rows_ = divide_up(kRowsAtOnce / shape_.v + 3, shape_.block) + 1;
    stride_ = aligned(8 * std::size_t{end_block_ - first_block_ + 4}) + 2 * kMargin;
    samples_ = layout.array<std::uint8_t>(stride_ * shape_.block * ring_rows_);
    if (samples_ != nullptr) samples_ += kMargin;
    if (shape_.upsampling != Upsampling::none) {
        const std::size_t count = std::size_t{end_sample_ - first_sample_} * shape_.h;
        upsampled_ = layout.array<std::uint8_t>(count + 2 * kMargin);
    }
    for (std::size_t i = 0; i < kBlockSize; ++i) quant_[kNaturalOrder[i]] = component.quant[i];
}

std::uint8_t* SamplePlane::sample_row(std::int64_t y) const {
    const auto last = static_cast<std::int64_t>(shape_.height) - 1;
    const auto at = static_cast<std::uint32_t>(std::clamp<std::int64_t>(y, 0, last));
    const std::uint32_t size = shape_.block;
    return samples_ + stride_ * (at / size % ring_rows_ * size + at % size);
}

void SamplePlane::decode_row(std::uint32_t block_row, const PixelKernels& pixels,
                             const EntropyKernels& entropy) {
    const std::uint32_t size = shape_.block;
    std::uint8_t* const out = samples_ + stride_ * size * (block_row % ring_rows_);
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
        if (size == 8) {
            pixels.idct(blocks, count, quant_, out, stride_);
        } else {
            reduced_idct(blocks, count, quant_, size, out, stride_);
        }
    } else if (size == 8) {
        pixels.idct_dc(dc, count, quant_[0], out, stride_);
    } else {
        reduced_idct_dc(dc, count, quant_[0], size, out, stride_);
    }
    // At the image's edges its last samples are their own neighbours.
    const std::size_t width = shape_.width - std::size_t{size} * first_block_;
    for (std::size_t y = 0; y < size; ++y) {
        std::uint8_t* const row = out + stride_ * y;
        row[-1] = row[0];
        if (width <= size * count) row[width] = row[width - 1];
    }
}

void SamplePlane::decode_to(std::uint32_t y, const PixelKernels& pixels,
                            const EntropyKernels& entropy) {
    const std::uint32_t samples =
        std::min(divide_up(y, shape_.v) + (filters_rows() ? 1 : 0), shape_.height);
    const std::uint32_t end = divide_up(samples, shape_.block);
    for (; next_row_ < end; ++next_row_) decode_row(next_row_, pixels, entropy);
}

void SamplePlane::repeat(const std::uint8_t* in) {
    std::uint8_t* out = upsampled_;
    for (std::uint32_t i = first_sample_; i < end_sample_; ++i) {
        out = std::fill_n(out, shape_.h, *in++);
    }
}

const std::uint8_t* SamplePlane::row(std::uint32_t y, const PixelKernels& kernels) {
    const std::size_t first = first_sample_ - std::size_t{shape_.block} * first_block_;
    const std::size_t count = end_sample_ - first_sample_;
    const std::int64_t near = y / shape_.v;
    const bool lower = y % shape_.v != 0;
    const std::uint8_t* const in = sample_row(near) + first;
    const std::uint8_t* const far = sample_row(lower ? near + 1 : near - 1) + first;
    switch (shape_.upsampling) {
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
    return std::none_of(frame.components, frame.components + frame.component_count,
                        [&](const Component& component) {
                            return find_shape(frame, component, 1).upsampling == Upsampling::h1v2;
                        });
#endif
}

void write_pixels(const ParsedJpeg& jpeg, const DecodedScans& scans, const Region& region,
                  std::uint32_t scale, Memory& memory, RowSink& sink) {
    const PixelKernels& pixels = pixel_kernels();
    const EntropyKernels& entropy = entropy_kernels();
    const Coefficients& frame = jpeg.frame;
    const std::size_t width = region.x1 - region.x0;
    const std::size_t stride = aligned(kPixelBytes * (width + kMargin));
    SamplePlane planes[kMaxComponents];
    std::uint8_t* out = nullptr;
    const auto lay_out = [&](Layout layout) {
        for (std::uint32_t i = 0; i < frame.component_count; ++i) {
            planes[i].lay_out(layout, frame, frame.components[i], scans.planes[i], region, scale);
        }
        out = layout.array<std::uint8_t>(stride * kRowsAtOnce);
        return layout.used();
    };
    const std::size_t bytes = lay_out(Layout());
    lay_out(Layout(memory.take(bytes)));

    for (std::uint32_t y = region.y0; y < region.y1;) {
        // Not across a row of blocks, so that the rings need no more room than they have.
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
