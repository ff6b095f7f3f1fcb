#include "dl2/jpeg/region.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include "codec/native_decoder.hpp"
#include "dl2/jpeg/header.hpp"
#include "jpeg/reader.hpp"

namespace dl2 {
namespace {

constexpr std::uint32_t kRowsAtOnce = 8;
constexpr std::uint32_t kPixelBytes = 4;  // both RGBX and CMYK

// Chroma upsampling looks at the neighbours of a pixel, and takes the edge of what is decoded for
// the edge of the image: so a little more is decoded than is asked for. Block smoothing looks much
// further, and gets the whole image.
constexpr std::uint32_t kMargin = 8;

std::uint8_t multiply_255(unsigned a, unsigned b) {
    const unsigned product = a * b + 128;
    return static_cast<std::uint8_t>(((product >> 8) + product) >> 8);
}

// Inverted CMYK to RGB, in place: with c = 255 - stored, r = (255 - k) - (255 - k) x c / 255.
void cmyk_to_rgbx(std::uint8_t* pixels, std::size_t count) {
    for (std::uint8_t* const end = pixels + kPixelBytes * count; pixels < end;
         pixels += kPixelBytes) {
        const unsigned light = pixels[3];
        for (int channel = 0; channel < 3; ++channel) {
            const unsigned ink = 255u - pixels[channel];
            pixels[channel] = static_cast<std::uint8_t>(light - multiply_255(ink, light));
        }
    }
}

// The native codec's CMYK on its way to RGB.
class CmykToRgbx : public RowSink {
  public:
    CmykToRgbx(RowSink& sink, std::uint32_t width) : sink_(sink), width_(width) {}

    void rows(const std::uint8_t* cmyk, std::size_t stride, std::uint32_t count) override {
        rgbx_.assign(cmyk, cmyk + stride * count);
        for (std::uint32_t row = 0; row < count; ++row) {
            cmyk_to_rgbx(rgbx_.data() + stride * row, width_);
        }
        sink_.rows(rgbx_.data(), stride, count);
    }

  private:
    RowSink& sink_;
    std::uint32_t width_;
    std::vector<std::uint8_t> rgbx_;
};

// Decoding a region with libjpeg.
struct LibjpegRegion {
    LibjpegRegion(const Bytes* fragments, std::size_t count, const DecodeOptions& options_,
                  const JpegHeader& header)
        : options(options_), reader(fragments, count, options.whole_file, options.limits) {
        if (reader.in.image_width != header.width || reader.in.image_height != header.height) {
            throw Error(ErrorKind::data, "the frame headers contradict each other");
        }
    }

    bool cmyk() const { return reader.in.out_color_space == JCS_CMYK; }

    // Reads all scans of a progressive image, each as far down as the region needs it.
    void start(const Region& region) {
        jpeg_decompress_struct& in = reader.in;
        in.scale_num = 1;
        in.scale_denom = scale;
        const bool four = in.jpeg_color_space == JCS_CMYK || in.jpeg_color_space == JCS_YCCK;
        in.out_color_space = four ? JCS_CMYK : JCS_EXT_RGBX;
        in.do_block_smoothing = options.smoothing ? TRUE : FALSE;
        if (!options.smoothing) {
            const auto mcu_height =
                DCTSIZE / scale * static_cast<std::uint32_t>(in.max_v_samp_factor);
            reader.monitor.cut_rows = (region.y1 + kMargin + mcu_height - 1) / mcu_height;
            reader.monitor.cut_source = &reader.source;
        }
        auto start_decompress = [&in] { jpeg_start_decompress(&in); };
        reader.run(start_decompress);
    }

    // Narrows the output to the region's columns; returns where the output begins.
    std::uint32_t crop(const Region& region) {
        JDIMENSION begin = region.x0 > kMargin ? region.x0 - kMargin : 0;
        JDIMENSION width = std::min(region.x1 + kMargin, reader.in.output_width) - begin;
        if (options.smoothing || scale != 1 || width == reader.in.output_width) return 0;
        auto narrow = [&] { jpeg_crop_scanline(&reader.in, &begin, &width); };
        reader.run(narrow);
        return begin;
    }

    void skip(std::uint32_t rows, std::size_t stride, std::uint8_t* row) {
        // jpeg_skip_scanlines is made for images at their full size.
        for (; scale != 1 && rows > 0; --rows) read(row, stride, 1);
        auto skip_rows = [&] { jpeg_skip_scanlines(&reader.in, rows); };
        if (rows > 0) reader.run(skip_rows);
    }

    void read(std::uint8_t* out, std::size_t stride, std::uint32_t count) {
        auto read_rows = [&] {
            for (std::uint32_t row = 0; row < count;) {
                JSAMPROW line = out + stride * row;
                row += jpeg_read_scanlines(&reader.in, &line, 1);
            }
        };
        reader.run(read_rows);
    }

    void decode(const Region& region, RowSink& sink, std::vector<std::uint8_t>& buffer);

    DecodeOptions options;
    std::uint32_t scale = 1;  // the image is shown at 1 / scale of its size
    Reader reader;
};

void LibjpegRegion::decode(const Region& region, RowSink& sink, std::vector<std::uint8_t>& buffer) {
    start(region);
    const std::uint32_t begin = crop(region);
    const std::size_t stride = std::size_t{kPixelBytes} * reader.in.output_width;
    buffer.resize(stride * kRowsAtOnce);
    skip(region.y0, stride, buffer.data());
    for (std::uint32_t y = region.y0; y < region.y1;) {
        const std::uint32_t count = std::min(kRowsAtOnce, region.y1 - y);
        read(buffer.data(), stride, count);
        std::uint8_t* first = buffer.data() + std::size_t{kPixelBytes} * (region.x0 - begin);
        if (cmyk()) {
            for (std::uint32_t row = 0; row < count; ++row) {
                cmyk_to_rgbx(first + stride * row, region.x1 - region.x0);
            }
        }
        sink.rows(first, stride, count);
        y += count;
    }
    reader.check_damage();
}

}  // namespace

struct DecodeMemory::Parts {
    codec::DecoderMemory native;
    std::vector<std::uint8_t> rows;  // libjpeg's
};

DecodeMemory::DecodeMemory() : parts_(std::make_unique<Parts>()) {}

DecodeMemory::~DecodeMemory() = default;

struct RegionDecoder::State {
    State(const Bytes* fragments_, std::size_t count_, const DecodeOptions& options_,
          DecodeMemory& memory_)
        : fragments(fragments_),
          count(count_),
          options(options_),
          memory(memory_.parts()),
          header(read_jpeg_header(count > 0 ? fragments[0] : Bytes(), options.limits)) {
        if (options.codec == Codec::native && !options.smoothing) {
            native.emplace(memory.native);
            if (native->open(fragments, count, options.whole_file, options.limits) != nullptr ||
                native->width() != header.width || native->height() != header.height) {
                native.reset();
            }
        }
        if (!native) use_libjpeg();
    }

    void use_libjpeg() {
        native.reset();
        libjpeg.emplace(fragments, count, options, header);
    }

    bool decode_native(const Region& region, RowSink& sink, std::uint32_t scale) {
        if (!native->cmyk()) return native->decode(region, scale, sink) == nullptr;
        CmykToRgbx to_rgbx(sink, region.x1 - region.x0);
        return native->decode(region, scale, to_rgbx) == nullptr;
    }

    const Bytes* fragments;
    std::size_t count;
    DecodeOptions options;
    DecodeMemory::Parts& memory;
    JpegHeader header;
    std::optional<codec::NativeDecoder> native;  // one of the two decodes
    std::optional<LibjpegRegion> libjpeg;
};

RegionDecoder::RegionDecoder(const Bytes* fragments, std::size_t count,
                             const DecodeOptions& options, DecodeMemory& memory)
    : state_(std::make_unique<State>(fragments, count, options, memory)) {}

RegionDecoder::~RegionDecoder() = default;

std::uint32_t RegionDecoder::width() const {
    return state_->header.width;
}

std::uint32_t RegionDecoder::height() const {
    return state_->header.height;
}

bool RegionDecoder::native() const {
    return state_->native.has_value();
}

void RegionDecoder::decode(const Region& region, RowSink& sink, std::uint32_t scale) {
    if (scale != 1 && scale != 2 && scale != 4 && scale != 8) {
        throw Error(ErrorKind::argument, "a scale other than 1, 1/2, 1/4 and 1/8");
    }
    if (region.x0 >= region.x1 || region.y0 >= region.y1 ||
        region.x1 > scaled_size(width(), scale) || region.y1 > scaled_size(height(), scale)) {
        throw Error(ErrorKind::argument, "a region outside of the image");
    }
    if (state_->native) {
        if (state_->decode_native(region, sink, scale)) return;
        state_->use_libjpeg();
    }
    state_->libjpeg->scale = scale;
    state_->libjpeg->decode(region, sink, state_->memory.rows);
}

}  // namespace dl2
