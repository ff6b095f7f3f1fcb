#include <doctest/doctest.h>

#include <string>

#include "codec/cpu.hpp"
#include "dl2/error.hpp"
#include "dl2/jpeg/codec.hpp"
#include "make_coefficients.hpp"
#include "scripts.hpp"

using dl2::Codec;
using dl2::KeepMetadata;
using dl2::TranscodeOptions;
using dl2_test::JpegRecipe;
using dl2_test::make_jpeg;

namespace {

using Jpeg = std::vector<std::uint8_t>;

// Both codecs, for one script: their images must be the same, and so must their refusals.
class Pair {
  public:
    explicit Pair(const dl2::ScanScript& script, KeepMetadata keep = KeepMetadata::none,
                  bool keep_damaged = false)
        : native_(options(script, keep, keep_damaged, Codec::native)),
          libjpeg_(options(script, keep, keep_damaged, Codec::libjpeg)) {}

    // Why the native codec left the image to libjpeg; empty if it did not.
    std::string check(const Jpeg& jpeg) {
        std::string refused;
        dl2::Transcoded expected;
        try {
            expected = libjpeg_.transcode(jpeg);
        } catch (const dl2::Error& error) {
            refused = error.what();
        }
        std::string declined;
        for (const dl2::codec::Isa isa : dl2::codec::available_isas()) {
            dl2::codec::use_isa(isa);
            try {
                const dl2::Transcoded image = native_.transcode(jpeg);
                REQUIRE(refused == "");
                CHECK(image.bytes == expected.bytes);
                CHECK(image.group_end == expected.group_end);
                CHECK(image.damage == expected.damage);
                CHECK(image.width == expected.width);
                CHECK(image.height == expected.height);
                CHECK(image.orientation == expected.orientation);
                CHECK(image.frame == expected.frame);
                declined = image.declined;
            } catch (const dl2::Error& error) {
                CHECK(error.what() == refused);
                declined = "refused";
            }
        }
        return declined;
    }

  private:
    static TranscodeOptions options(const dl2::ScanScript& script, KeepMetadata keep,
                                    bool keep_damaged, Codec codec) {
        TranscodeOptions result;
        result.script = script;
        result.keep = keep;
        result.keep_damaged = keep_damaged;
        result.codec = codec;
        return result;
    }

    dl2::Transcoder native_;
    dl2::Transcoder libjpeg_;
};

JpegRecipe random_recipe(std::mt19937& random) {
    const auto below = [&](unsigned end) { return static_cast<int>(random() % end); };
    JpegRecipe recipe;
    recipe.seed = random();
    recipe.width = 1 + below(150);
    recipe.height = 1 + below(100);
    recipe.quality = 1 + below(100);
    recipe.chroma = 1 << below(3);
    recipe.progressive = below(2) == 0;
    recipe.restart_interval = below(3) == 0 ? 1 + below(20) : 0;
    switch (below(6)) {
        case 0:
            recipe.input = recipe.stored = JCS_GRAYSCALE;
            break;
        case 1:
            recipe.stored = JCS_RGB;
            break;
        case 2:
            recipe.input = recipe.stored = JCS_CMYK;
            recipe.chroma = 1 + below(2);
            break;
        case 3:
            recipe.input = JCS_CMYK;
            recipe.stored = JCS_YCCK;
            recipe.chroma = 1 + below(2);
            break;
        default:
            break;
    }
    return recipe;
}

}  // namespace

TEST_CASE("both codecs transcode to the same bytes, for random images and scripts") {
    std::mt19937 random(7);
    for (int round = 0; round < 200; ++round) {
        Pair pair(round % 2 == 0 ? dl2_test::default_script() : dl2_test::random_script(random));
        CAPTURE(round);
        CHECK(pair.check(make_jpeg(random_recipe(random))) == "");
    }
}

TEST_CASE("what the native codec cannot read is left to libjpeg") {
    Pair pair(dl2_test::default_script());
    JpegRecipe recipe;
    recipe.arithmetic = true;
    CHECK(pair.check(make_jpeg(recipe)) != "");
    CHECK(pair.check(make_jpeg()) == "");
}

TEST_CASE("both codecs give the same verdict on damaged files") {
    std::mt19937 random(11);
    for (const bool keep_damaged : {false, true}) {
        Pair pair(dl2_test::default_script(), KeepMetadata::all, keep_damaged);
        for (int round = 0; round < 400; ++round) {
            Jpeg jpeg = make_jpeg(random_recipe(random));
            CAPTURE(round);
            switch (random() % 3) {
                case 0:
                    jpeg.resize(random() % jpeg.size());
                    break;
                case 1:
                    jpeg.erase(jpeg.begin() + static_cast<std::ptrdiff_t>(random() % jpeg.size()));
                    break;
                default:
                    for (unsigned i = 0; i < 1 + round % 4u; ++i) {
                        jpeg[random() % jpeg.size()] ^= 1u << random() % 8;
                    }
                    break;
            }
            pair.check(jpeg);
        }
    }
}

TEST_CASE("both codecs keep the same metadata") {
    std::mt19937 random(13);
    const Jpeg segments[] = {
        {0xFF, 0xE2, 0, 18, 'I', 'C', 'C', '_', 'P', 'R', 'O', 'F', 'I', 'L', 'E', 0, 1, 1, 7, 7},
        {0xFF, 0xE1, 0, 12, 'E', 'x', 'i', 'f', 0, 0, 'M', 'M', 0, 42},
        {0xFF, 0xFE, 0, 5, 'a', 'b', 'c'},
        {0xFF, 0xE0, 0, 9, 'J', 'F', 'I', 'F', 0, 1, 2},
        {0xFF, 0xE0, 0, 16, 'J', 'F', 'I', 'F', 0, 1, 2, 1, 0, 72, 0, 72, 0, 0},
        {0xFF, 0xE0, 0, 16, 'J', 'F', 'I', 'F', 0, 2, 7, 1, 0, 72, 0, 73, 0, 0},
        {0xFF, 0xEE, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, 1},
        {0xFF, 0xEE, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, 0},
        {0xFF, 0xEE, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, 2},
        {0xFF, 0xED, 0, 2}};
    for (int round = 0; round < 200; ++round) {
        Jpeg jpeg = make_jpeg(random_recipe(random));
        for (unsigned i = 0; i < 1 + round % 3u; ++i) {
            const Jpeg& segment = segments[random() % std::size(segments)];
            jpeg.insert(jpeg.begin() + 2, segment.begin(), segment.end());
        }
        for (const KeepMetadata keep :
             {KeepMetadata::none, KeepMetadata::icc, KeepMetadata::exif, KeepMetadata::all}) {
            CAPTURE(round);
            Pair(dl2_test::default_script(), keep).check(jpeg);
        }
    }
}

TEST_CASE("an image says nothing about the one behind it") {
    std::mt19937 random(17);
    TranscodeOptions options;
    options.script = dl2_test::default_script();
    dl2::Transcoder reused(options);
    for (int round = 0; round < 60; ++round) {
        const Jpeg jpeg = make_jpeg(random_recipe(random));
        CHECK(reused.transcode(jpeg).bytes == dl2::Transcoder(options).transcode(jpeg).bytes);
        Jpeg damaged = jpeg;
        damaged[random() % damaged.size()] ^= 0x55;
        try {
            reused.transcode(damaged);
        } catch (const dl2::Error&) {
        }
    }
}
