// Decoding a region gives exactly the pixels of a whole decoding; the resize has two engines that
// agree; crops lie within their image.
#include <doctest/doctest.h>

#include <random>

#include "dl2/error.hpp"
#include "dl2/jpeg/region.hpp"
#include "dl2/loader/augment.hpp"
#include "dl2/loader/resize.hpp"
#include "make_jpeg.hpp"
#include "region.hpp"
#include "scripts.hpp"

using dl2::Bytes;
using dl2_test::JpegRecipe;
using dl2_test::make_jpeg;
using dl2_test::random_region;

namespace {

std::vector<std::uint8_t> decode_region(const std::vector<Bytes>& fragments,
                                        const dl2::Region& region, bool smoothing) {
    dl2::DecodeMemory memory;
    dl2::RegionDecoder decoder(fragments.data(), fragments.size(), {false, smoothing, {}}, memory);
    dl2_test::CollectRgb sink(region);
    decoder.decode(region, sink);
    return std::move(sink.pixels);
}

std::vector<std::uint8_t> cut_out(const dl2::Pixels& whole, const dl2::Region& region) {
    std::vector<std::uint8_t> pixels;
    for (std::size_t y = region.y0; y < region.y1; ++y) {
        for (std::size_t x = region.x0; x < region.x1; ++x) {
            const std::uint8_t* at = &whole.samples[(y * whole.width + x) * whole.channels];
            for (std::size_t c = 0; c < 3; ++c) pixels.push_back(at[whole.channels == 1 ? 0 : c]);
        }
    }
    return pixels;
}

void check_regions(const JpegRecipe& recipe, bool smoothing) {
    dl2::Transcoder transcoder({dl2_test::default_script(), {}, false, {}});
    const dl2::Transcoded image = transcoder.transcode(make_jpeg(recipe));
    std::mt19937 random(recipe.seed);
    std::vector<Bytes> fragments;
    for (std::size_t group = 0; group < image.group_end.size(); ++group) {
        fragments.push_back(image.fragment(group));
        const dl2::Pixels whole = dl2::decode(fragments, {false, smoothing, {}});
        for (int i = 0; i < 12; ++i) {
            const dl2::Region region = random_region(random, whole.width, whole.height);
            CAPTURE(group);
            CAPTURE(region.x0);
            CAPTURE(region.x1);
            CAPTURE(region.y0);
            CAPTURE(region.y1);
            CHECK(decode_region(fragments, region, smoothing) == cut_out(whole, region));
        }
    }
}

}  // namespace

TEST_CASE("a region of an image is that part of the whole image, bit for bit") {
    JpegRecipe recipe;
    recipe.width = 181;
    recipe.height = 203;
    for (const int chroma : {1, 2, 4}) {
        for (const bool smoothing : {false, true}) {
            CAPTURE(chroma);
            CAPTURE(smoothing);
            recipe.chroma = chroma;
            recipe.seed = static_cast<unsigned>(chroma);
            check_regions(recipe, smoothing);
        }
    }
}

TEST_CASE("also of gray, RGB-coloured and small images, and with restart markers") {
    JpegRecipe recipe;
    recipe.width = 75;
    recipe.height = 90;
    SUBCASE("gray") {
        recipe.input = recipe.stored = JCS_GRAYSCALE;
    }
    SUBCASE("RGB") {
        recipe.stored = JCS_RGB;
        recipe.chroma = 1;
    }
    SUBCASE("restarts") {
        recipe.restart_interval = 2;
    }
    SUBCASE("tiny") {
        recipe.width = recipe.height = 3;
    }
    SUBCASE("one pixel") {
        recipe.width = recipe.height = 1;
    }
    check_regions(recipe, false);
}

TEST_CASE("a region of a baseline image") {
    JpegRecipe recipe;
    recipe.width = 120;
    recipe.height = 150;
    const std::vector<std::uint8_t> jpeg = make_jpeg(recipe);
    const std::vector<Bytes> whole_file{Bytes(jpeg)};
    const dl2::Pixels whole = dl2::decode(whole_file, {});
    std::mt19937 random(5);
    for (int i = 0; i < 40; ++i) {
        const dl2::Region region = random_region(random, whole.width, whole.height);
        CHECK(decode_region(whole_file, region, false) == cut_out(whole, region));
    }
}

TEST_CASE("damage is an error, and so is a region outside of the image") {
    const std::vector<std::uint8_t> jpeg = make_jpeg();
    const std::vector<Bytes> whole{Bytes(jpeg)};
    CHECK_THROWS_AS(decode_region(whole, {0, 0, 1000, 1}, false), dl2::Error);
    CHECK_THROWS_AS(decode_region(whole, {5, 5, 5, 6}, false), dl2::Error);
    CHECK_THROWS_AS(decode_region({}, {0, 0, 1, 1}, false), dl2::Error);
    const std::vector<Bytes> cut{Bytes(jpeg).slice(0, jpeg.size() / 2)};
    CHECK_THROWS_AS(decode_region(cut, {0, 0, 97, 61}, false), dl2::Error);
}

TEST_CASE("the portable resize and the fast one agree") {
    std::mt19937 random(7);
    for (int i = 0; i < 60; ++i) {
        const std::uint32_t width = 1 + random() % 300;
        const std::uint32_t height = 1 + random() % 300;
        const std::uint32_t size = 1 + random() % 100;
        dl2::Placement box{0,
                           0,
                           width,
                           height,
                           0,
                           0,
                           static_cast<float>(width),
                           static_cast<float>(height),
                           i % 2 == 0};
        std::vector<std::uint8_t> pixels(std::size_t{4} * width * height);
        for (std::uint8_t& each : pixels) each = static_cast<std::uint8_t>(random());
        std::vector<std::uint8_t> results[2];
        for (const bool portable : {false, true}) {
            dl2::use_portable_resize(portable);
            dl2::Resizer resizer;
            resizer.start(box, size);
            resizer.push(pixels.data(), std::size_t{4} * width, height);
            for (std::uint32_t y = 0; y < size; ++y) {
                std::vector<std::uint8_t> row(std::size_t{4} * size);
                resizer.row(y, row.data());
                results[portable].insert(results[portable].end(), row.begin(), row.end());
            }
        }
        dl2::use_portable_resize(false);
        CHECK(results[0] == results[1]);
    }
}

TEST_CASE("every placement lies within its image") {
    std::mt19937 random(11);
    dl2::TransformOptions options;
    for (int i = 0; i < 20000; ++i) {
        options.train = i % 4 != 0;
        const std::uint32_t width = 1 + random() % (i % 3 == 0 ? 65535 : 40);
        const std::uint32_t height = 1 + random() % (i % 5 == 0 ? 65535 : 40);
        const dl2::Placement p = dl2::place(options, dl2::SampleRandom(1, 2, i), width, height);
        REQUIRE(p.width >= 1);
        REQUIRE(p.height >= 1);
        REQUIRE(p.x + p.width <= width);
        REQUIRE(p.y + p.height <= height);
        REQUIRE(p.left >= 0);
        REQUIRE(p.top >= 0);
        REQUIRE(p.right > p.left);
        REQUIRE(p.bottom > p.top);
        REQUIRE(p.right <= static_cast<float>(p.width));
        REQUIRE(p.bottom <= static_cast<float>(p.height));
    }
}
