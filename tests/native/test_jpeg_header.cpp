#include <doctest/doctest.h>

#include "dl2/error.hpp"
#include "dl2/jpeg/header.hpp"
#include "make_jpeg.hpp"

using dl2::Bytes;
using dl2::Error;
using dl2_test::JpegRecipe;
using dl2_test::make_jpeg;

namespace {

// Puts an EXIF segment with this orientation behind the start marker.
std::vector<std::uint8_t> with_orientation(std::vector<std::uint8_t> jpeg, std::uint8_t value) {
    const std::vector<std::uint8_t> segment = {
        0xFF, 0xE1, 0,    34, 'E', 'x', 'i', 'f', 0, 0, 'I',   'I', 42, 0, 8, 0, 0, 0,
        1,    0,    0x12, 1,  3,   0,   1,   0,   0, 0, value, 0,   0,  0, 0, 0, 0, 0};
    jpeg.insert(jpeg.begin() + 2, segment.begin(), segment.end());
    return jpeg;
}

}  // namespace

TEST_CASE("a header says what the encoder was told") {
    JpegRecipe recipe;
    recipe.progressive = true;
    const auto header = dl2::read_jpeg_header(make_jpeg(recipe), {});
    CHECK(header.width == 97);
    CHECK(header.height == 61);
    CHECK(header.component_count == 3);
    CHECK(header.components[0].h == 2);
    CHECK(header.components[1].h == 1);
    CHECK(header.progressive());
    CHECK_FALSE(header.arithmetic());
    CHECK(header.orientation == 1);
}

TEST_CASE("the EXIF orientation is found; nonsense in it is none") {
    for (std::uint8_t value = 0; value < 12; ++value) {
        const auto header = dl2::read_jpeg_header(with_orientation(make_jpeg(), value), {});
        CHECK(header.orientation == (value >= 1 && value <= 8 ? value : 1));
    }
    auto jpeg = with_orientation(make_jpeg(), 6);
    for (std::size_t i = 16; i < 38; ++i) {  // lies about every offset and count of the directory
        auto damaged = jpeg;
        damaged[i] = 0xFF;
        CHECK_NOTHROW(dl2::read_jpeg_header(damaged, {}));
    }
}

TEST_CASE("scans are found where they begin, and cover the file") {
    JpegRecipe recipe;
    recipe.progressive = true;
    const auto jpeg = make_jpeg(recipe);
    const auto offsets = dl2::find_scans(jpeg, 100);
    CHECK(offsets.size() == 11);
    CHECK(offsets.front() == 0);
    CHECK(offsets.back() == jpeg.size() - 2);
    for (std::size_t i = 1; i < offsets.size(); ++i) {
        CHECK(offsets[i] > offsets[i - 1]);
        CHECK(jpeg[offsets[i]] == 0xFF);
    }
    CHECK_THROWS_AS(dl2::find_scans(jpeg, 9), Error);
}

TEST_CASE("restart markers and fill bytes belong to their scan") {
    JpegRecipe recipe;
    recipe.restart_interval = 2;
    const auto jpeg = make_jpeg(recipe);
    CHECK(dl2::find_scans(jpeg, 100).size() == 2);
}

TEST_CASE("every truncation is an error, never a read past the end") {
    JpegRecipe recipe;
    recipe.progressive = true;
    const auto whole = make_jpeg(recipe);
    for (std::size_t size = 0; size < whole.size(); ++size) {
        const std::vector<std::uint8_t> part(whole.begin(),
                                             whole.begin() + static_cast<std::ptrdiff_t>(size));
        CHECK_THROWS_AS(dl2::find_scans(part, 100), Error);
    }
}

TEST_CASE("what a header promises is checked before memory is taken") {
    auto jpeg = make_jpeg();
    std::size_t frame = 0;
    while (jpeg[frame] != 0xFF || jpeg[frame + 1] != 0xC0) ++frame;
    auto promise = [&](int width, int height) {
        jpeg[frame + 5] = static_cast<std::uint8_t>(height >> 8);
        jpeg[frame + 6] = static_cast<std::uint8_t>(height);
        jpeg[frame + 7] = static_cast<std::uint8_t>(width >> 8);
        jpeg[frame + 8] = static_cast<std::uint8_t>(width);
    };
    promise(65535, 65535);  // more than the limit
    CHECK_THROWS_AS(dl2::read_jpeg_header(jpeg, {}), Error);
    promise(9000, 9000);  // within it, but the file has too few bits
    CHECK_THROWS_AS(dl2::read_jpeg_header(jpeg, {}), Error);
    promise(97, 0);
    CHECK_THROWS_AS(dl2::read_jpeg_header(jpeg, {}), Error);
    jpeg[frame + 11] = 0x55;  // sampling factors of 5
    promise(97, 61);
    CHECK_THROWS_AS(dl2::read_jpeg_header(jpeg, {}), Error);
}

TEST_CASE("the beginning of a file is enough, or nothing is said") {
    const auto jpeg = with_orientation(make_jpeg(), 6);
    const auto whole = dl2::read_jpeg_header(jpeg, {});
    for (std::size_t size = 3; size < jpeg.size(); ++size) {
        const auto header = dl2::peek_jpeg_header(Bytes(jpeg.data(), size));
        // A scan header has 12 bytes behind its marker's length for three components.
        CHECK(header.has_value() == (size >= whole.first_scan + 14));
        if (header) CHECK(header->orientation == 6);
    }
    CHECK_THROWS_AS(dl2::peek_jpeg_header(Bytes(jpeg.data() + 1, 100)), Error);
}

TEST_CASE("quantisation tables are those of the encoder, row by row") {
    JpegRecipe recipe;
    recipe.quality = 50;
    const auto header = dl2::read_jpeg_header(make_jpeg(recipe), {});
    const auto& luma = header.quant_tables[0];
    REQUIRE(luma.defined);
    CHECK(luma.steps[0] == 16);  // T.81, table K.1
    CHECK(luma.steps[1] == 11);
    CHECK(luma.steps[8] == 12);
    CHECK(luma.steps[63] == 99);
    CHECK(header.quant_tables[1].steps[0] == 17);
    CHECK_FALSE(header.quant_tables[2].defined);
}

TEST_CASE("a height that a DNL marker would give is told apart from an empty image") {
    auto jpeg = make_jpeg();
    std::size_t frame = 0;
    while (jpeg[frame] != 0xFF || jpeg[frame + 1] != 0xC0) ++frame;
    jpeg[frame + 5] = jpeg[frame + 6] = 0;
    CHECK_THROWS_WITH_AS(dl2::read_jpeg_header(jpeg, {}), doctest::Contains("DNL"), Error);
    jpeg[frame + 6] = 61;
    jpeg[frame + 7] = jpeg[frame + 8] = 0;
    CHECK_THROWS_WITH_AS(dl2::read_jpeg_header(jpeg, {}), doctest::Contains("0 pixels wide"),
                         Error);
}

TEST_CASE("scans are counted also in a file that is cut, or goes on behind its end") {
    JpegRecipe recipe;
    recipe.progressive = true;
    auto jpeg = make_jpeg(recipe);
    jpeg.insert(jpeg.end(), {1, 2, 3});
    const auto whole = dl2::survey_scans(jpeg);
    CHECK(whole.count == 10);
    CHECK(whole.ended);
    CHECK(whole.trailing_bytes == 3);
    const auto cut = dl2::survey_scans(Bytes(jpeg.data(), jpeg.size() - 5));
    CHECK(cut.count == 10);
    CHECK_FALSE(cut.ended);
    for (std::size_t size = 0; size < jpeg.size(); ++size) {
        CHECK(dl2::survey_scans(Bytes(jpeg.data(), size)).count <= 10);
    }
}

TEST_CASE("a colour profile is put together from its pieces, in any order") {
    auto jpeg = make_jpeg();
    auto piece = [](std::uint8_t number, std::uint8_t value) {
        return std::vector<std::uint8_t>{0xFF, 0xE2, 0,   18,  'I', 'C', 'C',    '_', 'P',   'R',
                                         'O',  'F',  'I', 'L', 'E', 0,   number, 2,   value, value};
    };
    const auto second = piece(2, 8);
    jpeg.insert(jpeg.begin() + 2, second.begin(), second.end());
    CHECK(dl2::read_icc_profile(jpeg).empty());  // a piece is missing
    jpeg.insert(jpeg.begin() + 2 + 20, {0xFF, 0xFE, 0, 2});
    const auto first = piece(1, 7);
    jpeg.insert(jpeg.begin() + 2 + 20 + 4, first.begin(), first.end());
    CHECK(dl2::read_icc_profile(jpeg) == std::vector<std::uint8_t>{7, 7, 8, 8});
    CHECK(dl2::read_jpeg_header(jpeg, {}).icc);
}
