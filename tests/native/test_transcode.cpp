#include <doctest/doctest.h>

#include <atomic>

#include "dl2/error.hpp"
#include "dl2/jpeg/codec.hpp"
#include "dl2/jpeg/header.hpp"
#include "make_jpeg.hpp"
#include "scripts.hpp"

using dl2::Bytes;
using dl2::Error;
using dl2::ErrorKind;
using dl2_test::JpegRecipe;
using dl2_test::make_jpeg;

namespace {

dl2::TranscodeOptions options() {
    return {dl2_test::default_script(), {}, false, {}};
}

std::vector<Bytes> fragments(const dl2::Transcoded& image, std::size_t groups) {
    std::vector<Bytes> result;
    for (std::size_t group = 0; group < groups; ++group) result.push_back(image.fragment(group));
    return result;
}

std::vector<std::uint8_t> whole(const dl2::Transcoded& image) {
    std::vector<std::uint8_t> jpeg = image.bytes;
    jpeg.insert(jpeg.end(), {0xFF, 0xD9});
    return jpeg;
}

std::vector<std::size_t> filled_groups(const dl2::Transcoded& image) {
    std::vector<std::size_t> groups;
    for (std::size_t group = 0; group < image.group_end.size(); ++group) {
        if (image.fragment(group).size > 0) groups.push_back(group + 1);
    }
    return groups;
}

JpegRecipe recipe_of(J_COLOR_SPACE input, J_COLOR_SPACE stored, int chroma) {
    JpegRecipe recipe;
    recipe.input = input;
    recipe.stored = stored;
    recipe.chroma = chroma;
    return recipe;
}

}  // namespace

TEST_CASE("coefficients and pixels stay the same for every kind of JPEG") {
    dl2::Transcoder transcoder(options());
    std::vector<JpegRecipe> recipes = {
        recipe_of(JCS_RGB, JCS_YCbCr, 1),           recipe_of(JCS_RGB, JCS_YCbCr, 2),
        recipe_of(JCS_RGB, JCS_YCbCr, 4),           recipe_of(JCS_RGB, JCS_RGB, 1),
        recipe_of(JCS_GRAYSCALE, JCS_GRAYSCALE, 1), recipe_of(JCS_CMYK, JCS_CMYK, 1),
        recipe_of(JCS_CMYK, JCS_YCCK, 1),           recipe_of(JCS_CMYK, JCS_YCCK, 2)};
    const std::size_t plain = recipes.size();
    for (std::size_t i = 0; i < plain; ++i) {
        JpegRecipe recipe = recipes[i];
        recipe.progressive = true;
        recipes.push_back(recipe);
        recipe.progressive = false;
        recipe.arithmetic = true;
        recipes.push_back(recipe);
        recipe.arithmetic = false;
        recipe.restart_interval = 3;
        recipe.width = 8;
        recipe.height = 1;
        recipes.push_back(recipe);
    }
    for (const JpegRecipe& recipe : recipes) {
        const auto jpeg = make_jpeg(recipe);
        const dl2::Transcoded image = transcoder.transcode(jpeg);
        CHECK(dl2::compare_coefficients(jpeg, whole(image), {}) == "");
        dl2::DecodeOptions decode;
        CHECK(dl2::decode({Bytes(jpeg)}, decode).samples ==
              dl2::decode(fragments(image, image.group_end.size()), decode).samples);
        for (std::size_t k = 1; k <= image.group_end.size(); ++k) {
            CHECK_NOTHROW(dl2::decode(fragments(image, k), decode));
        }
    }
}

TEST_CASE("scan groups mean the same for every image") {
    dl2::Transcoder transcoder(options());
    auto groups = [&](J_COLOR_SPACE input, J_COLOR_SPACE stored) {
        return filled_groups(transcoder.transcode(make_jpeg(recipe_of(input, stored, 1))));
    };
    const std::vector<std::size_t> luma = {1, 2, 5, 6, 7, 10};
    const std::vector<std::size_t> all = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    CHECK(groups(JCS_GRAYSCALE, JCS_GRAYSCALE) == luma);
    CHECK(groups(JCS_RGB, JCS_RGB) == luma);
    CHECK(groups(JCS_CMYK, JCS_CMYK) == luma);
    CHECK(groups(JCS_RGB, JCS_YCbCr) == all);
    CHECK(groups(JCS_CMYK, JCS_YCCK) == all);
}

TEST_CASE("a truncated image is rejected, or kept on request; only its end marker may miss") {
    for (const bool progressive : {false, true}) {
        JpegRecipe recipe;
        recipe.progressive = progressive;
        auto jpeg = make_jpeg(recipe);
        jpeg.resize(jpeg.size() - 2);
        dl2::Transcoder strict(options());
        if (progressive) {
            CHECK_THROWS_AS(strict.transcode(jpeg), Error);
        } else {
            CHECK(strict.transcode(jpeg).damage == "");
        }
        jpeg.resize(jpeg.size() - 40);  // inside the last scan
        CHECK_THROWS_AS(strict.transcode(jpeg), Error);
        dl2::TranscodeOptions lenient_options = options();
        lenient_options.keep_damaged = true;
        dl2::Transcoder lenient(lenient_options);
        const dl2::Transcoded image = lenient.transcode(jpeg);
        CHECK(image.damage != "");
        CHECK_NOTHROW(dl2::decode(fragments(image, 10), {}));
    }
}

TEST_CASE("a marker that runs over the end of a complete file is read alike, kept or skipped") {
    auto jpeg = make_jpeg();
    jpeg.resize(jpeg.size() - 2);
    jpeg.insert(jpeg.end(), {0xFF, 0xFE, 0x10, 0x00, 'x'});
    for (const auto keep : {dl2::KeepMetadata::none, dl2::KeepMetadata::all}) {
        dl2::TranscodeOptions kept = options();
        kept.keep = keep;
        const auto image = dl2::Transcoder(kept).transcode(jpeg);
        CHECK(dl2::compare_coefficients(jpeg, whole(image), {}) == "");
    }
}

TEST_CASE("a JFIF marker between scans does not become one in front of them") {
    JpegRecipe recipe = recipe_of(JCS_RGB, JCS_RGB, 1);
    recipe.progressive = true;
    auto jpeg = make_jpeg(recipe);
    const auto scan = static_cast<std::ptrdiff_t>(dl2::find_scans(jpeg, 100)[1]);
    const std::vector<std::uint8_t> jfif = {0xFF, 0xE0, 0, 16, 'J', 'F', 'I', 'F', 0,
                                            1,    1,    0, 0,  1,   0,   1,   0,   0};
    jpeg.insert(jpeg.begin() + scan, jfif.begin(), jfif.end());
    dl2::TranscodeOptions all = options();
    all.keep = dl2::KeepMetadata::all;
    const auto image = dl2::Transcoder(all).transcode(jpeg);
    CHECK(dl2::compare_coefficients(jpeg, whole(image), {}) == "");
}

TEST_CASE("a JFIF version that does not exist is mended, not carried on") {
    auto jpeg = make_jpeg();
    REQUIRE(jpeg[6] == 'J');
    jpeg[11] = 44;
    const auto image = dl2::Transcoder(options()).transcode(jpeg);
    CHECK(image.damage == "");
    CHECK(image.bytes[11] == 1);
    CHECK_NOTHROW(dl2::decode(fragments(image, 10), {}));
}

TEST_CASE("a transcoder works on after damage") {
    dl2::Transcoder transcoder(options());
    const auto jpeg = make_jpeg();
    for (std::size_t i = 2; i < jpeg.size(); i += 37) {
        auto damaged = jpeg;
        damaged[i] ^= 0x5A;
        try {
            transcoder.transcode(damaged);
        } catch (const Error&) {
        }
    }
    CHECK(dl2::compare_coefficients(jpeg, whole(transcoder.transcode(jpeg)), {}) == "");
}

TEST_CASE("too many scans end early, whatever the file promises") {
    JpegRecipe recipe;
    recipe.progressive = true;
    const auto jpeg = make_jpeg(recipe);
    dl2::TranscodeOptions few = options();
    few.limits.max_scans = 9;
    CHECK_THROWS_WITH_AS(dl2::Transcoder(few).transcode(jpeg), "too many scans", Error);
    dl2::TranscodeOptions small = options();
    small.limits.max_scan_pixels = 97 * 61 * 5;
    CHECK_THROWS_WITH_AS(dl2::Transcoder(small).transcode(jpeg), "too many scans for its size",
                         Error);
}

TEST_CASE("cancelling ends a transcoding as cancelled") {
    dl2::Transcoder transcoder(options());
    const std::atomic<bool> cancel{true};
    try {
        transcoder.transcode(make_jpeg(), &cancel);
        FAIL("not cancelled");
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::cancelled);
    }
}

TEST_CASE("what libjpeg cannot transcode is told apart from damage") {
    auto jpeg = make_jpeg();
    std::size_t frame = 0;
    while (jpeg[frame] != 0xFF || jpeg[frame + 1] != 0xC0) ++frame;
    for (const bool lossless : {false, true}) {
        auto changed = jpeg;
        if (lossless) {
            changed[frame + 1] = 0xC3;
        } else {
            changed[frame + 4] = 12;
        }
        try {
            dl2::Transcoder(options()).transcode(changed);
            FAIL("not refused");
        } catch (const Error& error) {
            CHECK(error.kind() == ErrorKind::unsupported);
        }
    }
}

TEST_CASE("metadata is kept as asked") {
    auto jpeg = make_jpeg();
    const std::vector<std::uint8_t> icc = {0xFF, 0xE2, 0,   18,  'I', 'C', 'C', '_', 'P', 'R',
                                           'O',  'F',  'I', 'L', 'E', 0,   1,   1,   7,   7};
    const std::vector<std::uint8_t> comment = {0xFF, 0xFE, 0, 5, 'a', 'b', 'c'};
    jpeg.insert(jpeg.begin() + 2, icc.begin(), icc.end());
    jpeg.insert(jpeg.begin() + 2, comment.begin(), comment.end());
    auto size = [&](dl2::KeepMetadata keep) {
        dl2::TranscodeOptions kept = options();
        kept.keep = keep;
        return dl2::Transcoder(kept).transcode(jpeg).bytes.size();
    };
    const std::size_t none = size(dl2::KeepMetadata::none);
    CHECK(size(dl2::KeepMetadata::exif) == none);
    CHECK(size(dl2::KeepMetadata::icc) == none + icc.size());
    CHECK(size(dl2::KeepMetadata::all) == none + icc.size() + comment.size());
}
