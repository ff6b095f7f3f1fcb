// Damaged images: the native codec and libjpeg show the same, or say the same. DL2_MUTATIONS sets
// how many are tried (scripts/fuzz.sh tries many).
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "codec/cpu.hpp"
#include "damage_jpeg.hpp"
#include "dl2/error.hpp"
#include "dl2/jpeg/codec.hpp"
#include "dl2/jpeg/region.hpp"
#include "make_odd_jpeg.hpp"
#include "region.hpp"

using dl2::Bytes;
using dl2_test::OddRecipe;

namespace {

struct Outcome {
    std::string error;
    std::vector<std::uint8_t> pixels;
    bool native = false;
};

// Decodes a region that depends on `seed` and the image's size alone.
Outcome try_region(const std::vector<std::uint8_t>& jpeg, unsigned seed, bool whole_file,
                   dl2::Codec codec, dl2::DecodeMemory& memory) {
    Outcome outcome;
    const Bytes bytes(jpeg);
    dl2::Limits limits;
    limits.max_pixels = 1 << 18;
    limits.max_scan_pixels = 1 << 23;
    try {
        dl2::RegionDecoder decoder(&bytes, 1, {whole_file, false, limits, codec}, memory);
        std::mt19937 random(seed);
        const std::uint32_t scale = seed % 5 == 0 ? 2u << random() % 3 : 1;
        const std::uint32_t width = dl2::scaled_size(decoder.width(), scale);
        const std::uint32_t height = dl2::scaled_size(decoder.height(), scale);
        dl2::Region box{0, 0, width, height};
        if (seed % 2 == 0) box = dl2_test::random_region(random, width, height);
        dl2_test::CollectRgb sink(box);
        decoder.decode(box, sink, scale);
        outcome.pixels = std::move(sink.pixels);
        outcome.native = decoder.native();
    } catch (const dl2::Error& error) {
        outcome.error = error.what();
    }
    // Rows that came before an error are nobody's; libjpeg's come as it reads.
    const std::size_t size = std::size_t{4} << 20;
    if (outcome.pixels.size() > 3 * size) outcome.pixels.resize(3 * size);
    return outcome;
}

std::vector<dl2_test::JpegBytes> sources() {
    std::vector<dl2_test::JpegBytes> result;
    std::mt19937 random(9);
    const std::vector<std::vector<std::array<int, 2>>> samplings = {
        {}, {{2, 2}}, {{2, 1}}, {{1, 2}}};
    for (unsigned i = 0; i < 24; ++i) {
        OddRecipe recipe;
        recipe.seed = i;
        recipe.width = 8 + static_cast<int>(random() % 90);
        recipe.height = 8 + static_cast<int>(random() % 90);
        recipe.sampling = samplings[i % 4];
        recipe.quality = 40 + static_cast<int>(random() % 60);
        recipe.noise = 1 + random() % 60;
        recipe.optimize = i % 3 == 0;
        const J_COLOR_SPACE spaces[] = {JCS_YCbCr,     JCS_YCbCr, JCS_YCbCr,
                                        JCS_GRAYSCALE, JCS_CMYK,  JCS_RGB};
        recipe.stored = spaces[i % 6];
        if (i % 5 == 0) recipe.restart_interval = 1 + static_cast<int>(random() % 6);
        if (i % 2 == 0) {
            recipe.scans =
                dl2_test::random_script(random, dl2_test::component_count(recipe.stored), true);
        }
        result.push_back(make_odd_jpeg(recipe));
    }
    return result;
}

}  // namespace

TEST_CASE("damaged images show or say what libjpeg does") {
    const char* wanted = std::getenv("DL2_MUTATIONS");
    const unsigned count = wanted == nullptr ? 2000 : static_cast<unsigned>(std::atol(wanted));
    const std::vector<dl2_test::JpegBytes> originals = sources();
    dl2::DecodeMemory memory;
    const std::vector<dl2::codec::Isa> isas = dl2::codec::available_isas();
    const dl2::codec::Isa before = dl2::codec::isa();
    unsigned shown = 0;
    unsigned native = 0;
    for (unsigned seed = 0; seed < count; ++seed) {
        std::mt19937 random(seed);
        const auto& original = originals[random() % originals.size()];
        const auto& other = originals[random() % originals.size()];
        const dl2_test::JpegBytes jpeg = dl2_test::damage(random, original, other);
        const bool whole_file = random() % 2 == 0;
        const Outcome expected = try_region(jpeg, seed, whole_file, dl2::Codec::libjpeg, memory);
        dl2::codec::use_isa(isas[seed % isas.size()]);
        const Outcome found = try_region(jpeg, seed, whole_file, dl2::Codec::native, memory);
        CAPTURE(seed);
        CHECK(found.error == expected.error);
        CHECK(found.pixels == expected.pixels);
        shown += expected.error.empty();
        native += found.native;
    }
    dl2::codec::use_isa(before);
    MESSAGE(count, " damaged images: ", shown, " shown, ", native, " of them natively");
    CHECK(native > count / 20);
}
