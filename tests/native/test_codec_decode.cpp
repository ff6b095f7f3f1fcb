// The native decoder reads libjpeg's coefficients and shows libjpeg's pixels, bit for bit, on every
// instruction set; and what it is not sure of, libjpeg decodes.
#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "codec/cpu.hpp"
#include "codec/decode/read_coefficients.hpp"
#include "codec/native_decoder.hpp"
#include "dl2/error.hpp"
#include "dl2/jpeg/codec.hpp"
#include "dl2/jpeg/header.hpp"
#include "dl2/jpeg/region.hpp"
#include "jpeg/reader.hpp"
#include "make_odd_jpeg.hpp"
#include "region.hpp"

using dl2::Bytes;
using dl2::Limits;
using dl2_test::make_odd_jpeg;
using dl2_test::OddRecipe;
using dl2_test::random_region;

namespace {

// Runs a body with each instruction set that this processor has.
template <class Body>
void on_each_isa(const Body& body) {
    const dl2::codec::Isa before = dl2::codec::isa();
    for (const dl2::codec::Isa isa : dl2::codec::available_isas()) {
        dl2::codec::use_isa(isa);
        CAPTURE(dl2::codec::name(isa));
        body();
    }
    dl2::codec::use_isa(before);
}

std::string compare_block(const dl2::codec::Coefficient* zigzag, const JCOEF* natural) {
    for (std::size_t k = 0; k < 64; ++k) {
        if (zigzag[k] != natural[dl2::codec::kNaturalOrder[k]]) {
            return "coefficient " + std::to_string(k) + " is " + std::to_string(zigzag[k]) +
                   ", not " + std::to_string(natural[dl2::codec::kNaturalOrder[k]]);
        }
    }
    return "";
}

// Returns where the native coefficients differ from libjpeg's; empty if they do not.
std::string compare_coefficients(const std::vector<Bytes>& fragments) {
    dl2::codec::ParsedJpeg jpeg;
    dl2::codec::ReaderMemory memory;
    const char* declined = dl2::codec::parse(fragments.data(), fragments.size(), Limits(), jpeg);
    if (declined == nullptr) declined = dl2::codec::read_coefficients(jpeg, memory);
    if (declined != nullptr) return std::string("declined: ") + declined;
    dl2::Reader reader(fragments.data(), fragments.size(), false, Limits());
    jvirt_barray_ptr* arrays = nullptr;
    auto read = [&] { arrays = jpeg_read_coefficients(&reader.in); };
    reader.run(read);
    for (std::uint32_t c = 0; c < jpeg.frame.component_count; ++c) {
        const dl2::codec::Component& component = jpeg.frame.components[c];
        const jpeg_component_info& info = reader.in.comp_info[c];
        if (component.blocks_x != info.width_in_blocks ||
            component.blocks_y != info.height_in_blocks) {
            return "size of component " + std::to_string(c);
        }
        for (std::size_t k = 0; k < 64; ++k) {
            if (component.quant[k] != info.quant_table->quantval[dl2::codec::kNaturalOrder[k]]) {
                return "quantisation";
            }
        }
        for (std::uint32_t y = 0; y < component.blocks_y; ++y) {
            const JBLOCKROW row = (*reader.in.mem->access_virt_barray)(
                reinterpret_cast<j_common_ptr>(&reader.in), arrays[c], y, 1, FALSE)[0];
            for (std::uint32_t x = 0; x < component.blocks_x; ++x) {
                const std::string found = compare_block(component.block(x, y), row[x]);
                if (found.empty()) continue;
                return "component " + std::to_string(c) + " block " + std::to_string(x) + ", " +
                       std::to_string(y) + ": " + found;
            }
        }
    }
    return "";
}

std::vector<std::uint8_t> decode_region(const std::vector<Bytes>& fragments,
                                        const dl2::Region& region, dl2::Codec codec,
                                        bool must_be_native, dl2::DecodeMemory& memory,
                                        std::uint32_t scale = 1) {
    dl2::RegionDecoder decoder(fragments.data(), fragments.size(), {false, false, {}, codec},
                               memory);
    dl2_test::CollectRgb sink(region);
    decoder.decode(region, sink, scale);
    if (codec == dl2::Codec::native && must_be_native) CHECK(decoder.native());
    return std::move(sink.pixels);
}

// Returns each prefix of the scans of a progressive JPEG as fragments; a baseline JPEG has only
// one.
std::vector<std::vector<Bytes>> prefixes(const std::vector<std::uint8_t>& jpeg) {
    const std::vector<std::size_t> scans = dl2::find_scans(jpeg, 1000);
    std::vector<Bytes> fragments;
    std::vector<std::vector<Bytes>> result;
    for (std::size_t i = 0; i + 1 < scans.size(); ++i) {
        fragments.push_back(Bytes(jpeg).slice(scans[i], scans[i + 1]));
        result.push_back(fragments);
    }
    return result;
}

bool complete(const std::vector<Bytes>& fragments) {
    dl2::codec::ParsedJpeg jpeg;
    const char* declined = dl2::codec::parse(fragments.data(), fragments.size(), Limits(), jpeg);
    return declined == nullptr;
}

// Decodes the image and a part of it at each scale: the part has the pixels of the whole image.
void check_scales(const std::vector<Bytes>& fragments, std::uint32_t width, std::uint32_t height,
                  std::mt19937& random, dl2::DecodeMemory& memory) {
    for (const std::uint32_t scale : {2u, 4u, 8u}) {
        CAPTURE(scale);
        const std::uint32_t scaled_width = dl2::scaled_size(width, scale);
        const std::uint32_t scaled_height = dl2::scaled_size(height, scale);
        const dl2::Region all{0, 0, scaled_width, scaled_height};
        const dl2::Region part = random_region(random, scaled_width, scaled_height);
        CAPTURE(part.x0);
        CAPTURE(part.y0);
        CAPTURE(part.x1);
        CAPTURE(part.y1);
        const auto expected =
            decode_region(fragments, all, dl2::Codec::libjpeg, false, memory, scale);
        std::vector<std::uint8_t> cut;
        for (std::size_t y = part.y0; y < part.y1; ++y) {
            const auto row = expected.begin() + static_cast<std::ptrdiff_t>(3 * y * scaled_width);
            cut.insert(cut.end(), row + 3 * part.x0, row + 3 * part.x1);
        }
        CHECK(decode_region(fragments, part, dl2::Codec::libjpeg, false, memory, scale) == cut);
        on_each_isa([&] {
            CHECK(decode_region(fragments, all, dl2::Codec::native, false, memory, scale) ==
                  expected);
            CHECK(decode_region(fragments, part, dl2::Codec::native, false, memory, scale) == cut);
        });
    }
}

void check_image(const OddRecipe& recipe, int regions = 2) {
    CAPTURE(recipe.width);
    CAPTURE(recipe.height);
    CAPTURE(recipe.seed);
    CAPTURE(recipe.restart_interval);
    const std::vector<std::uint8_t> jpeg = make_odd_jpeg(recipe);
    std::mt19937 random(recipe.seed);
    dl2::DecodeMemory memory;
    for (const std::vector<Bytes>& fragments : prefixes(jpeg)) {
        CAPTURE(fragments.size());
        const bool whole = complete(fragments);  // else a component has no scan yet
        const auto width = static_cast<std::uint32_t>(recipe.width);
        const auto height = static_cast<std::uint32_t>(recipe.height);
        std::vector<dl2::Region> boxes{{0, 0, width, height}};
        for (int i = 0; i < regions; ++i) boxes.push_back(random_region(random, width, height));
        for (const dl2::Region& box : boxes) {
            CAPTURE(box.x0);
            CAPTURE(box.y0);
            CAPTURE(box.x1);
            CAPTURE(box.y1);
            const auto expected = decode_region(fragments, box, dl2::Codec::libjpeg, false, memory);
            on_each_isa([&] {
                const auto found = decode_region(fragments, box, dl2::Codec::native, whole, memory);
                CHECK(found == expected);
            });
        }
        if (whole) on_each_isa([&] { CHECK(compare_coefficients(fragments) == ""); });
        check_scales(fragments, width, height, random, memory);
    }
}

const std::vector<std::vector<std::array<int, 2>>> kSamplings = {
    {},                        // 4:4:4
    {{2, 1}},                  // 4:2:2
    {{2, 2}},                  // 4:2:0
    {{1, 2}},                  // 4:4:0
    {{4, 1}},                  // 4:1:1
    {{4, 2}},                  // 4:1:0
    {{2, 4}},                  //
    {{2, 2}, {2, 1}, {1, 2}},  // each component its own
    {{2, 2}, {1, 2}, {2, 1}},  //
    {{1, 1}, {2, 2}, {1, 1}},  // chroma finer than luma
    {{2, 2}, {2, 2}, {1, 1}},  //
};

}  // namespace

TEST_CASE("baseline images of all samplings and many sizes") {
    unsigned seed = 0;
    for (const auto& sampling : kSamplings) {
        for (const auto& [width, height] : std::vector<std::array<int, 2>>{
                 {1, 1}, {2, 1}, {3, 5}, {8, 8}, {9, 17}, {16, 16}, {33, 40}, {97, 61}}) {
            OddRecipe recipe;
            recipe.width = width;
            recipe.height = height;
            recipe.sampling = sampling;
            recipe.seed = ++seed;
            recipe.optimize = seed % 2 == 0;
            recipe.quality = seed % 3 == 0 ? 100 : 70;
            check_image(recipe);
            recipe.restart_interval = 1 + static_cast<int>(seed % 5);
            check_image(recipe);
        }
    }
}

TEST_CASE("random valid scan scripts, every prefix of them") {
    for (unsigned seed = 1; seed <= 60; ++seed) {
        std::mt19937 random(seed);
        OddRecipe recipe;
        recipe.seed = seed;
        recipe.width = 1 + static_cast<int>(random() % 80);
        recipe.height = 1 + static_cast<int>(random() % 80);
        recipe.sampling = kSamplings[random() % kSamplings.size()];
        recipe.quality = 50 + static_cast<int>(random() % 51);
        const J_COLOR_SPACE spaces[] = {JCS_GRAYSCALE, JCS_YCbCr, JCS_YCbCr,
                                        JCS_RGB,       JCS_CMYK,  JCS_YCCK};
        recipe.stored = spaces[random() % 6];
        const int components = dl2_test::component_count(recipe.stored);
        if (components == 4) recipe.sampling = random() % 2 == 0 ? kSamplings[0] : kSamplings[2];
        recipe.scans = dl2_test::random_script(random, components, random() % 2 == 0);
        if (seed % 3 == 0) recipe.restart_interval = 1 + static_cast<int>(random() % 9);
        check_image(recipe, 1);
    }
}

TEST_CASE("flat and noisy images, and long end-of-block runs") {
    OddRecipe recipe;
    recipe.width = 300;
    recipe.height = 200;
    std::mt19937 random(3);
    for (const unsigned noise : {0u, 2u, 256u}) {
        recipe.noise = noise;
        for (const int quality : {5, 60, 100}) {
            recipe.quality = quality;
            recipe.scans.clear();
            check_image(recipe);
            recipe.scans = dl2_test::random_script(random, 3, true);
            check_image(recipe);
        }
    }
}

TEST_CASE("an image does not see what its thread decoded before") {
    OddRecipe big;
    big.width = 200;
    big.height = 150;
    std::mt19937 random(4);
    big.scans = dl2_test::random_script(random, 3, true);
    OddRecipe small;
    small.width = 50;
    small.height = 40;
    small.sampling = {{2, 2}};
    small.scans = dl2_test::random_script(random, 3, true);
    const std::vector<std::uint8_t> first = make_odd_jpeg(big);
    const std::vector<std::uint8_t> second = make_odd_jpeg(small);
    on_each_isa([&] {
        for (const std::vector<Bytes>& fragments : prefixes(second)) {
            dl2::DecodeMemory fresh;
            const dl2::Region box{3, 5, 44, 39};
            const auto expected = decode_region(fragments, box, dl2::Codec::native, true, fresh);
            dl2::DecodeMemory used;
            const std::vector<Bytes> before{Bytes(first)};
            decode_region(before, {0, 0, 200, 150}, dl2::Codec::native, true, used);
            CHECK(decode_region(fragments, box, dl2::Codec::native, true, used) == expected);
        }
    });
}
