#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>

#include "dl2/error.hpp"
#include "dl2/jpeg/codec.hpp"
#include "dl2/jpeg/header.hpp"
#include "make_jpeg.hpp"
#include "make_odd_jpeg.hpp"
#include "scripts.hpp"

using dl2::Bytes;
using dl2::Error;
using dl2_test::default_options;
using dl2_test::JpegRecipe;
using dl2_test::make_jpeg;

namespace {

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
    dl2::Transcoder transcoder(default_options());
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
    dl2::Transcoder transcoder(default_options());
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

TEST_CASE("a file that lacks nothing but its end marker is sound; one that ends in a scan is not") {
    for (const bool progressive : {false, true}) {
        JpegRecipe recipe;
        recipe.progressive = progressive;
        auto jpeg = make_jpeg(recipe);
        const auto complete = jpeg;
        jpeg.resize(jpeg.size() - 2);
        dl2::Transcoder strict(default_options());
        CHECK(strict.transcode(jpeg).bytes == strict.transcode(complete).bytes);
        dl2::DecodeOptions file;
        file.whole_file = true;
        CHECK(dl2::decode({Bytes(jpeg)}, file).samples ==
              dl2::decode({Bytes(complete)}, file).samples);
        jpeg.resize(jpeg.size() - 40);  // inside the last scan
        CHECK_THROWS_AS(strict.transcode(jpeg), Error);
        CHECK_THROWS_AS(dl2::decode({Bytes(jpeg)}, file), Error);
        dl2::TranscodeOptions lenient_options = default_options();
        lenient_options.keep_damaged = true;
        dl2::Transcoder lenient(lenient_options);
        const dl2::Transcoded image = lenient.transcode(jpeg);
        CHECK(image.damage != "");
        CHECK_NOTHROW(dl2::decode(fragments(image, 10), {}));
    }
}

TEST_CASE("a progressive file that ends between two scans is damaged: coefficients are missing") {
    JpegRecipe recipe;
    recipe.progressive = true;
    const auto jpeg = make_jpeg(recipe);
    const auto scans = dl2::find_scans(jpeg, 100);
    dl2::DecodeOptions file;
    file.whole_file = true;
    for (std::size_t i = 1; i + 1 < scans.size(); ++i) {
        const Bytes part(jpeg.data(), scans[i]);
        CHECK_THROWS_WITH_AS(dl2::Transcoder(default_options()).transcode(part),
                             "the file ends early", Error);
        CHECK_THROWS_WITH_AS(dl2::decode({part}, file), "the file ends early", Error);
        CHECK_NOTHROW(dl2::decode({part}, {}));  // the first scans of an image are no damage
    }
}

TEST_CASE("an arithmetic file without its end marker is damaged: a cut scan looks the same") {
    JpegRecipe recipe;
    recipe.arithmetic = true;
    auto jpeg = make_jpeg(recipe);
    jpeg.resize(jpeg.size() - 2);
    CHECK_THROWS_AS(dl2::Transcoder(default_options()).transcode(jpeg), Error);
}

namespace {

// Takes the segments of a marker (DHT, DQT) out of the header of a JPEG.
std::vector<std::uint8_t> without(std::vector<std::uint8_t> jpeg, std::uint8_t marker) {
    std::size_t at = 2;
    while (jpeg[at + 1] != 0xDA) {
        const std::size_t end = at + 2 + (jpeg[at + 2] << 8 | jpeg[at + 3]);
        if (jpeg[at + 1] == marker) {
            jpeg.erase(jpeg.begin() + static_cast<std::ptrdiff_t>(at),
                       jpeg.begin() + static_cast<std::ptrdiff_t>(end));
        } else {
            at = end;
        }
    }
    return jpeg;
}

// Images of which some lack what their neighbours define.
std::vector<std::vector<std::uint8_t>> dependent_images() {
    std::vector<std::vector<std::uint8_t>> images;
    for (unsigned seed = 1; seed <= 4; ++seed) {
        JpegRecipe recipe;
        recipe.seed = seed;
        recipe.quality = 20 * static_cast<int>(seed);
        recipe.restart_interval = seed == 3 ? 4 : 0;
        images.push_back(make_jpeg(recipe));
        images.push_back(without(images.back(), 0xC4));
        images.push_back(without(images[images.size() - 2], 0xDB));
        recipe.progressive = true;
        images.push_back(make_jpeg(recipe));
        images.push_back(without(images.back(), 0xC4));
        recipe.progressive = false;
        recipe.arithmetic = true;
        images.push_back(make_jpeg(recipe));
        recipe.arithmetic = false;
        recipe.stored = seed % 2 == 0 ? JCS_RGB : JCS_YCbCr;
        images.push_back(make_jpeg(recipe));
        recipe.input = recipe.stored = JCS_GRAYSCALE;
        images.push_back(make_jpeg(recipe));
        images.push_back(without(images.back(), 0xC4));
        images.emplace_back(images.back().begin(), images.back().end() - 30);
    }
    return images;
}

// What a transcoder makes of an image: its bytes, or the reason why it makes none.
std::vector<std::uint8_t> outcome(dl2::Transcoder& transcoder, const Bytes& jpeg) {
    try {
        return transcoder.transcode(jpeg).bytes;
    } catch (const Error& error) {
        const std::string reason = error.what();
        return {reason.begin(), reason.end()};
    }
}

}  // namespace

TEST_CASE("what becomes of an image does not depend on the images before it") {
    const auto images = dependent_images();
    std::vector<std::vector<std::uint8_t>> alone;
    for (const auto& image : images) {
        dl2::Transcoder fresh(default_options());
        alone.push_back(outcome(fresh, image));
    }
    std::vector<std::size_t> order(images.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::mt19937 random(7);
    dl2::Transcoder used(default_options());
    for (int round = 0; round < 20; ++round) {
        std::shuffle(order.begin(), order.end(), random);
        for (const std::size_t i : order) CHECK(outcome(used, images[i]) == alone[i]);
    }
}

TEST_CASE("a frame without Huffman tables has those of the standard") {
    const auto jpeg = make_jpeg();  // libjpeg writes the standard's
    dl2::Transcoder transcoder(default_options());
    CHECK(transcoder.transcode(without(jpeg, 0xC4)).bytes == transcoder.transcode(jpeg).bytes);
    CHECK(dl2::decode({Bytes(without(jpeg, 0xC4))}, {}).samples ==
          dl2::decode({Bytes(jpeg)}, {}).samples);
    CHECK_THROWS_AS(transcoder.transcode(without(jpeg, 0xDB)), Error);
    JpegRecipe recipe;
    recipe.progressive = true;
    CHECK_THROWS_AS(transcoder.transcode(without(make_jpeg(recipe), 0xC4)), Error);
}

TEST_CASE("a sequential scan holds all coefficients, whatever its header says of the last one") {
    auto jpeg = make_jpeg();
    const auto complete = dl2::Transcoder(default_options()).transcode(jpeg).bytes;
    std::size_t scan = 0;
    while (jpeg[scan] != 0xFF || jpeg[scan + 1] != 0xDA) ++scan;
    std::uint8_t* const last = jpeg.data() + scan + 12;
    REQUIRE(*last == 63);
    for (const std::uint8_t value : {0, 5, 62, 200}) {
        *last = value;
        CHECK(dl2::Transcoder(default_options()).transcode(jpeg).bytes == complete);
        CHECK_NOTHROW(dl2::decode({Bytes(jpeg)}, {}));
    }
    last[1] = 0x10;  // a refinement: of a progressive image, perhaps
    CHECK_THROWS_AS(dl2::Transcoder(default_options()).transcode(jpeg), Error);
}

TEST_CASE("a quantisation table that is defined anew between scans counts for those that follow") {
    JpegRecipe recipe;
    recipe.chroma = 1;
    recipe.separate_scans = true;
    auto jpeg = make_jpeg(recipe);
    const auto scan = static_cast<std::ptrdiff_t>(dl2::find_scans(jpeg, 100)[2]);
    std::vector<std::uint8_t> table(69, 2);
    const std::uint8_t head[] = {0xFF, 0xDB, 0, 67, 1};
    std::copy(std::begin(head), std::end(head), table.begin());
    jpeg.insert(jpeg.begin() + scan, table.begin(), table.end());
    const auto image = dl2::Transcoder(default_options()).transcode(jpeg);
    CHECK(dl2::compare_coefficients(jpeg, whole(image), {}) == "");
    CHECK(dl2::decode({Bytes(jpeg)}, {}).samples == dl2::decode({Bytes(whole(image))}, {}).samples);
}

TEST_CASE("a marker that runs over the end of a complete file is read alike, kept or skipped") {
    auto jpeg = make_jpeg();
    jpeg.resize(jpeg.size() - 2);
    jpeg.insert(jpeg.end(), {0xFF, 0xFE, 0x10, 0x00, 'x'});
    for (const auto keep : {dl2::KeepMetadata::none, dl2::KeepMetadata::all}) {
        dl2::TranscodeOptions kept = default_options();
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
    dl2::TranscodeOptions all = default_options();
    all.keep = dl2::KeepMetadata::all;
    const auto image = dl2::Transcoder(all).transcode(jpeg);
    CHECK(dl2::compare_coefficients(jpeg, whole(image), {}) == "");
}

TEST_CASE("a JFIF version that does not exist is mended, not carried on") {
    auto jpeg = make_jpeg();
    REQUIRE(jpeg[6] == 'J');
    jpeg[11] = 44;
    const auto image = dl2::Transcoder(default_options()).transcode(jpeg);
    CHECK(image.damage == "");
    CHECK(image.bytes[11] == 1);
    CHECK_NOTHROW(dl2::decode(fragments(image, 10), {}));
}

TEST_CASE("a transcoder works on after damage") {
    dl2::Transcoder transcoder(default_options());
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

TEST_CASE("metadata is kept as asked") {
    auto jpeg = make_jpeg();
    const std::vector<std::uint8_t> icc = {0xFF, 0xE2, 0,   18,  'I', 'C', 'C', '_', 'P', 'R',
                                           'O',  'F',  'I', 'L', 'E', 0,   1,   1,   7,   7};
    const std::vector<std::uint8_t> index = {0xFF, 0xE2, 0, 8, 'M', 'P', 'F', 0, 1, 2};
    jpeg.insert(jpeg.begin() + 2, index.begin(), index.end());  // its images are not kept
    const std::vector<std::uint8_t> comment = {0xFF, 0xFE, 0, 5, 'a', 'b', 'c'};
    jpeg.insert(jpeg.begin() + 2, icc.begin(), icc.end());
    jpeg.insert(jpeg.begin() + 2, comment.begin(), comment.end());
    auto size = [&](dl2::KeepMetadata keep) {
        dl2::TranscodeOptions kept = default_options();
        kept.keep = keep;
        return dl2::Transcoder(kept).transcode(jpeg).bytes.size();
    };
    const std::size_t none = size(dl2::KeepMetadata::none);
    CHECK(size(dl2::KeepMetadata::exif) == none);
    CHECK(size(dl2::KeepMetadata::icc) == none + icc.size());
    CHECK(size(dl2::KeepMetadata::all) == none + icc.size() + comment.size());
}

TEST_CASE("a component in no scan may name a quantisation table that cannot be") {
    dl2_test::OddRecipe recipe;
    for (int component = 0; component < 3; ++component) {
        jpeg_scan_info scan{};
        scan.comps_in_scan = 1;
        scan.component_index[0] = component;
        scan.Se = 63;
        recipe.scans.push_back(scan);
    }
    auto jpeg = dl2_test::make_odd_jpeg(recipe);
    const std::vector<std::size_t> ends = dl2::find_scans(jpeg, 3);
    jpeg.resize(ends[2]);
    jpeg.insert(jpeg.end(), {0xFF, 0xD9});
    std::size_t frame = 2;
    while (jpeg[frame] != 0xFF || jpeg[frame + 1] < 0xC0 || jpeg[frame + 1] > 0xC1) ++frame;
    jpeg[frame + 10 + 3 * 2 + 2] = 255;
    dl2::TranscodeOptions lenient = default_options();
    lenient.keep_damaged = true;
    const dl2::Transcoded image = dl2::Transcoder(lenient).transcode(jpeg);
    CHECK(image.damage.find("component 2") != std::string::npos);
    CHECK_NOTHROW(dl2::decode(fragments(image, 10), {}));
}
