// The native codec beside libjpeg on any bytes, with each instruction set: the same pixels, or the
// same error; and its coefficients.
#include <cstdlib>
#include <string>

#include "codec/cpu.hpp"
#include "codec/decode/read_coefficients.hpp"
#include "dl2/error.hpp"
#include "dl2/io/crc32c.hpp"
#include "dl2/jpeg/region.hpp"
#include "region.hpp"
#include "script.hpp"

namespace {

struct Outcome {
    std::string error;
    std::vector<std::uint8_t> rgb;
};

// Decodes the whole image or a region, at a scale: `draw`, a hash of the input, says which.
Outcome decode(dl2::Bytes jpeg, std::uint32_t draw, dl2::Codec codec, dl2::DecodeMemory& memory) {
    Outcome outcome;
    try {
        const bool whole_file = (draw & 1) != 0;
        dl2::RegionDecoder decoder(&jpeg, 1, {whole_file, false, small_limits(), codec}, memory);
        const std::uint32_t scale = (draw & 4) != 0 ? 1 : 1u << ((draw >> 28) & 3);
        const std::uint32_t width = dl2::scaled_size(decoder.width(), scale);
        const std::uint32_t height = dl2::scaled_size(decoder.height(), scale);
        dl2::Region box{0, 0, width, height};
        if ((draw & 2) != 0) {
            box.x0 = (draw >> 4) % width;
            box.y0 = (draw >> 8) % height;
            box.x1 = box.x0 + 1 + (draw >> 12) % (width - box.x0);
            box.y1 = box.y0 + 1 + (draw >> 20) % (height - box.y0);
        }
        dl2_test::CollectRgb sink(box);
        decoder.decode(box, sink, scale);
        outcome.rgb = std::move(sink.pixels);
    } catch (const dl2::Error& error) {
        outcome.error = error.what();
    }
    return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const dl2::Bytes jpeg(data, size);
    const std::uint32_t draw = dl2::crc32c(data, size);
    static dl2::DecodeMemory memory;
    const Outcome expected = decode(jpeg, draw, dl2::Codec::libjpeg, memory);
    for (const dl2::codec::Isa isa : dl2::codec::available_isas()) {
        dl2::codec::use_isa(isa);
        const Outcome found = decode(jpeg, draw, dl2::Codec::native, memory);
        if (found.error != expected.error || found.rgb != expected.rgb) std::abort();
    }
    dl2::codec::ParsedJpeg parsed;
    dl2::codec::ReaderMemory reader;
    if (dl2::codec::parse(&jpeg, 1, small_limits(), parsed) == nullptr) {
        dl2::codec::read_coefficients(parsed, reader);
    }
    return 0;
}
