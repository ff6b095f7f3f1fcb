#include <doctest/doctest.h>

#include <atomic>

#include "dl2/error.hpp"
#include "dl2/jpeg/codec.hpp"
#include "make_jpeg.hpp"
#include "scripts.hpp"

using dl2::Error;
using dl2::ErrorKind;
using dl2_test::default_options;
using dl2_test::JpegRecipe;
using dl2_test::make_jpeg;

TEST_CASE("too many scans end early, whatever the file promises") {
    JpegRecipe recipe;
    recipe.progressive = true;
    const auto jpeg = make_jpeg(recipe);
    dl2::TranscodeOptions few = default_options();
    few.limits.max_scans = 9;
    CHECK_THROWS_WITH_AS(dl2::Transcoder(few).transcode(jpeg), "too many scans", Error);
    dl2::TranscodeOptions small = default_options();
    small.limits.max_scan_pixels = 97 * 61 * 5;
    CHECK_THROWS_WITH_AS(dl2::Transcoder(small).transcode(jpeg), "too many scans for its size",
                         Error);
}

TEST_CASE("cancelling ends a transcoding as cancelled") {
    dl2::Transcoder transcoder(default_options());
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
            dl2::Transcoder(default_options()).transcode(changed);
            FAIL("not refused");
        } catch (const Error& error) {
            CHECK(error.kind() == ErrorKind::unsupported);
        }
    }
}
