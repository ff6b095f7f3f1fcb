#include <cstring>

#include "codec/cpu.hpp"
#include "codec/native_decoder.hpp"
#include "dl2/jpeg/codec.hpp"
#include "dl2/jpeg/header.hpp"
#include "jpeg/reader.hpp"

#define DL2_TEXT_(x) #x
#define DL2_TEXT(x) DL2_TEXT_(x)

namespace dl2 {
namespace {

J_COLOR_SPACE natural_space(const jpeg_decompress_struct& in) {
    switch (in.jpeg_color_space) {
        case JCS_GRAYSCALE:
            return JCS_GRAYSCALE;
        case JCS_CMYK:
        case JCS_YCCK:
            return JCS_CMYK;
        default:
            return JCS_RGB;
    }
}

std::string compare_tables(Reader& left, Reader& right) {
    for (int i = 0; i < left.in.num_components; ++i) {
        const JQUANT_TBL* a = left.in.comp_info[i].quant_table;
        const JQUANT_TBL* b = right.in.comp_info[i].quant_table;
        if (a == nullptr || b == nullptr) return "a component without a quantisation table";
        if (std::memcmp(a->quantval, b->quantval, sizeof a->quantval) != 0) {
            return "quantisation table of component " + std::to_string(i);
        }
    }
    return "";
}

// Compares one row of blocks; blocks that only fill up an MCU are no part of the image.
bool same_row(Reader& left, Reader& right, jvirt_barray_ptr* a, jvirt_barray_ptr* b, int component,
              JDIMENSION row) {
    bool same = false;
    auto compare = [&] {
        auto rows = [&](Reader& reader, jvirt_barray_ptr* arrays) {
            return (*reader.in.mem->access_virt_barray)(reinterpret_cast<j_common_ptr>(&reader.in),
                                                        arrays[component], row, 1, FALSE)[0];
        };
        const std::size_t bytes = left.in.comp_info[component].width_in_blocks * sizeof(JBLOCK);
        same = std::memcmp(rows(left, a), rows(right, b), bytes) == 0;
    };
    left.run(compare);
    return same;
}

// Takes the native codec's rows into the channels that libjpeg's default decoder gives.
class PixelSink : public RowSink {
  public:
    explicit PixelSink(Pixels& pixels) : pixels_(pixels), out_(pixels.samples.data()) {}

    void rows(const std::uint8_t* rows, std::size_t stride, std::uint32_t count) override {
        for (std::uint32_t row = 0; row < count; ++row, rows += stride) {
            switch (pixels_.channels) {
                case 1:
                    copy<1>(rows);
                    break;
                case 3:
                    copy<3>(rows);
                    break;
                default:
                    copy<4>(rows);
            }
        }
    }

  private:
    template <std::size_t kChannels>
    void copy(const std::uint8_t* in) {
        for (std::uint32_t x = 0; x < pixels_.width; ++x, in += 4, out_ += kChannels) {
            for (std::size_t c = 0; c < kChannels; ++c) out_[c] = in[c];
        }
    }

    Pixels& pixels_;
    std::uint8_t* out_;
};

// False if the native codec leaves the image to libjpeg.
bool decode_native(const std::vector<Bytes>& fragments, const JpegHeader& header,
                   const DecodeOptions& options, Pixels& pixels) {
    codec::DecoderMemory memory;
    codec::NativeDecoder decoder(memory);
    if (decoder.open(fragments.data(), fragments.size(), options.whole_file, options.limits) !=
            nullptr ||
        decoder.width() != header.width || decoder.height() != header.height) {
        return false;
    }
    pixels.width = header.width;
    pixels.height = header.height;
    pixels.channels = decoder.components();
    pixels.samples.resize(std::size_t{pixels.width} * pixels.height * pixels.channels);
    PixelSink sink(pixels);
    return decoder.decode({0, 0, pixels.width, pixels.height}, 1, sink) == nullptr;
}

}  // namespace

Pixels decode(const std::vector<Bytes>& fragments, const DecodeOptions& options) {
    if (fragments.empty()) throw Error(ErrorKind::argument, "no fragments to decode");
    const JpegHeader header = read_jpeg_header(fragments[0], options.limits);
    Pixels pixels;
    if (options.codec == Codec::native && !options.smoothing &&
        decode_native(fragments, header, options, pixels)) {
        return pixels;
    }
    Reader reader(fragments.data(), fragments.size(), options.whole_file, options.limits);
    auto start = [&] {
        reader.in.out_color_space = natural_space(reader.in);
        reader.in.do_block_smoothing = options.smoothing ? TRUE : FALSE;
        jpeg_start_decompress(&reader.in);
    };
    reader.run(start);
    if (reader.in.output_width != header.width || reader.in.output_height != header.height) {
        throw Error(ErrorKind::data, "the frame headers contradict each other");
    }
    pixels.width = reader.in.output_width;
    pixels.height = reader.in.output_height;
    pixels.channels = static_cast<std::uint32_t>(reader.in.output_components);
    const std::size_t stride = std::size_t{pixels.width} * pixels.channels;
    pixels.samples.resize(stride * pixels.height);
    auto read_rows = [&] {
        while (reader.in.output_scanline < reader.in.output_height) {
            JSAMPROW row = pixels.samples.data() + stride * reader.in.output_scanline;
            jpeg_read_scanlines(&reader.in, &row, 1);
        }
        // Up to the end marker, but not with jpeg_finish_decompress, which forgets what was read.
        while (jpeg_input_complete(&reader.in) == FALSE) jpeg_consume_input(&reader.in);
    };
    reader.run(read_rows);
    reader.check_damage();
    return pixels;
}

std::string compare_coefficients(Bytes left_jpeg, Bytes right_jpeg, const Limits& limits) {
    read_jpeg_header(left_jpeg, limits);
    read_jpeg_header(right_jpeg, limits);
    Reader left(&left_jpeg, 1, true, limits);
    Reader right(&right_jpeg, 1, true, limits);
    jvirt_barray_ptr* a = nullptr;
    jvirt_barray_ptr* b = nullptr;
    auto read_left = [&] { a = jpeg_read_coefficients(&left.in); };
    auto read_right = [&] { b = jpeg_read_coefficients(&right.in); };
    left.run(read_left);
    right.run(read_right);
    if (left.in.image_width != right.in.image_width ||
        left.in.image_height != right.in.image_height) {
        return "image size";
    }
    if (left.in.num_components != right.in.num_components ||
        left.in.jpeg_color_space != right.in.jpeg_color_space) {
        return "colour components";
    }
    const std::string tables = compare_tables(left, right);
    if (!tables.empty()) return tables;
    for (int i = 0; i < left.in.num_components; ++i) {
        const jpeg_component_info& info = left.in.comp_info[i];
        const jpeg_component_info& other = right.in.comp_info[i];
        if (info.width_in_blocks != other.width_in_blocks ||
            info.height_in_blocks != other.height_in_blocks) {
            return "chroma sampling";
        }
        for (JDIMENSION row = 0; row < info.height_in_blocks; ++row) {
            if (!same_row(left, right, a, b, i, row)) {
                return "coefficients of component " + std::to_string(i) + ", block row " +
                       std::to_string(row);
            }
        }
    }
    return "";
}

std::string libjpeg_version() {
#ifdef LIBJPEG_TURBO_VERSION
    return std::string(DL2_TEXT(LIBJPEG_TURBO_VERSION)) + " (API " + DL2_TEXT(JPEG_LIB_VERSION) +
           ")";
#else
    return std::string("unknown (API ") + DL2_TEXT(JPEG_LIB_VERSION) + ")";
#endif
}

Codec codec_of_name(const std::string& name) {
    if (name == "native") return Codec::native;
    if (name == "libjpeg") return Codec::libjpeg;
    throw Error(ErrorKind::argument, "codec must be native or libjpeg, not " + name);
}

std::string codec_instruction_set() {
    return codec::name(codec::isa());
}

bool native_codec_decodes() {
    return codec::decoding_pays();
}

std::vector<std::string> codec_instruction_sets() {
    std::vector<std::string> names;
    for (const codec::Isa isa : codec::available_isas()) names.emplace_back(codec::name(isa));
    return names;
}

void use_codec_instruction_set(const std::string& name) {
    for (const codec::Isa isa : codec::available_isas()) {
        if (name == codec::name(isa)) return codec::use_isa(isa);
    }
    throw Error(ErrorKind::argument, "this processor has no instruction set " + name);
}

}  // namespace dl2
