#include <doctest/doctest.h>

#include <algorithm>
#include <utility>

#include "codec/cpu.hpp"
#include "codec/encode/scan_encoder.hpp"
#include "make_coefficients.hpp"
#include "scripts.hpp"

using dl2::codec::ScanEncoder;
using dl2_test::JpegRecipe;

namespace {

using Jpeg = std::vector<std::uint8_t>;

// The number of bytes, from the end, that two files share; the native scans must be all of it.
void check_scans(const Jpeg& source, const dl2::ScanScript& script, ScanEncoder& encoder) {
    Jpeg expected;
    std::vector<dl2::ImageScan> plan;
    auto write = [&](jpeg_decompress_struct& in, jvirt_barray_ptr* coefficients) {
        std::array<std::uint8_t, 4> h{};
        std::array<std::uint8_t, 4> v{};
        for (int i = 0; i < in.num_components; ++i) {
            h[static_cast<std::size_t>(i)] =
                static_cast<std::uint8_t>(in.comp_info[i].h_samp_factor);
            v[static_cast<std::size_t>(i)] =
                static_cast<std::uint8_t>(in.comp_info[i].v_samp_factor);
        }
        plan = dl2::plan_scans(script, dl2_test::color_model(in.jpeg_color_space), h, v);
        expected = dl2_test::write_by_libjpeg(in, coefficients, plan);
    };
    const dl2_test::OwnedCoefficients read = dl2_test::read_by_libjpeg(source, write);
    for (const dl2::codec::Isa isa : dl2::codec::available_isas()) {
        dl2::codec::use_isa(isa);
        Jpeg scans;
        std::vector<std::size_t> ends;
        REQUIRE(encoder.encode(read.image, read.tables, plan, scans, ends));
        CHECK(ends.size() == plan.size());
        CHECK(ends.back() == scans.size());
        scans.insert(scans.end(), {0xFF, 0xD9});
        REQUIRE(scans.size() < expected.size());
        CAPTURE(dl2::codec::name(isa));
        CHECK(std::equal(scans.begin(), scans.end(),
                         expected.end() - static_cast<std::ptrdiff_t>(scans.size())));
    }
}

std::vector<JpegRecipe> recipes_of_every_kind() {
    std::vector<JpegRecipe> recipes;
    const std::pair<J_COLOR_SPACE, J_COLOR_SPACE> colors[] = {{JCS_RGB, JCS_YCbCr},
                                                              {JCS_RGB, JCS_RGB},
                                                              {JCS_GRAYSCALE, JCS_GRAYSCALE},
                                                              {JCS_CMYK, JCS_CMYK},
                                                              {JCS_CMYK, JCS_YCCK}};
    for (const auto& [input, stored] : colors) {
        for (const int chroma : {1, 2, 4}) {
            if (chroma == 4 && input == JCS_CMYK) continue;  // more blocks than an MCU may have
            for (const int quality : {5, 75, 100}) {
                JpegRecipe recipe;
                recipe.input = input;
                recipe.stored = stored;
                recipe.chroma = chroma;
                recipe.quality = quality;
                recipe.restart_interval = quality == 75 ? 3 : 0;
                recipes.push_back(recipe);
            }
        }
    }
    return recipes;
}

}  // namespace

TEST_CASE("the native encoder writes the bytes of libjpeg, for every kind of JPEG") {
    ScanEncoder encoder;
    for (const JpegRecipe& recipe : recipes_of_every_kind()) {
        check_scans(dl2_test::make_jpeg(recipe), dl2_test::default_script(), encoder);
    }
}

TEST_CASE("the native encoder writes the bytes of libjpeg, for every size") {
    ScanEncoder encoder;
    for (int width = 1; width <= 36; width += 5) {
        for (int height = 1; height <= 36; height += 7) {
            JpegRecipe recipe;
            recipe.width = width;
            recipe.height = height;
            for (const int chroma : {1, 2, 4}) {
                recipe.chroma = chroma;
                check_scans(dl2_test::make_jpeg(recipe), dl2_test::default_script(), encoder);
            }
        }
    }
}

TEST_CASE("the native encoder writes the bytes of libjpeg, for random valid scripts") {
    std::mt19937 random(20240607);
    ScanEncoder encoder;
    for (unsigned round = 0; round < 150; ++round) {
        JpegRecipe recipe;
        recipe.seed = round;
        recipe.width = 1 + static_cast<int>(random() % 200);
        recipe.height = 1 + static_cast<int>(random() % 150);
        recipe.quality = 1 + static_cast<int>(random() % 100);
        recipe.chroma = 1 << random() % 3;
        check_scans(dl2_test::make_jpeg(recipe), dl2_test::random_script(random), encoder);
    }
}

TEST_CASE("long runs of empty blocks, and of corrections, end where libjpeg ends them") {
    ScanEncoder encoder;
    JpegRecipe flat;  // more than 0x7FFF blocks without any AC coefficient
    flat.input = flat.stored = JCS_GRAYSCALE;
    flat.noise = 0;
    flat.slope = 0;
    flat.width = flat.height = 1600;
    flat.chroma = 1;
    check_scans(dl2_test::make_jpeg(flat), dl2_test::default_script(), encoder);
    JpegRecipe rough;  // many coefficients that are known early
    rough.quality = 100;
    rough.noise = 250;
    rough.width = rough.height = 200;
    dl2::ScanScript script = {{{0, 1, 2}, 0, 0, 0, 0}};
    for (std::uint8_t c = 0; c < 3; ++c) {
        script.push_back({{c}, 1, 63, 0, 5});
        for (std::uint8_t al = 5; al-- > 0;) {
            script.push_back({{c}, 1, 63, static_cast<std::uint8_t>(al + 1), al});
        }
    }
    check_scans(dl2_test::make_jpeg(rough), script, encoder);
}

TEST_CASE("what JPEG cannot hold is refused, and leaves the output as it was") {
    const auto nothing = [](jpeg_decompress_struct&, jvirt_barray_ptr*) {};
    dl2_test::OwnedCoefficients read = dl2_test::read_by_libjpeg(dl2_test::make_jpeg(), nothing);
    const dl2::ScanScript script = dl2_test::default_script();
    const auto plan = dl2::plan_scans(script, read.color, {2, 1, 1}, {2, 1, 1});
    ScanEncoder encoder;
    Jpeg out = {1, 2, 3};
    std::vector<std::size_t> ends;
    const auto encode = [&](const std::vector<dl2::ImageScan>& wanted) {
        return encoder.encode(read.image, read.tables, wanted, out, ends);
    };
    auto reordered = plan;
    std::swap(reordered.front(), reordered.back());
    CHECK_FALSE(encode(reordered));
    for (const std::size_t at : {std::size_t{0}, std::size_t{70}}) {  // a DC and an AC coefficient
        for (const std::int16_t value : {std::int16_t{-32768}, std::int16_t{32767}}) {
            for (const dl2::codec::Isa isa : dl2::codec::available_isas()) {
                dl2::codec::use_isa(isa);
                const std::int16_t before = std::exchange(read.blocks[1][at], value);
                CHECK_FALSE(encode(plan));
                read.blocks[1][at] = before;
            }
        }
    }
    CHECK(out == Jpeg{1, 2, 3});
    CHECK(encode(plan));
}
