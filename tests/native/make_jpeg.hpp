// Makes the JPEGs that the native tests need, with libjpeg itself.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "write_jpeg.hpp"

namespace dl2_test {

struct JpegRecipe {
    int width = 97;
    int height = 61;
    J_COLOR_SPACE input = JCS_RGB;
    J_COLOR_SPACE stored = JCS_YCbCr;
    int chroma = 2;  // luma sampling factor, 1 is 4:4:4, 2 is 4:2:0, 4 is 4:1:0
    bool progressive = false;
    bool arithmetic = false;
    bool separate_scans = false;  // a sequential scan for each component
    int restart_interval = 0;
    int quality = 85;
    unsigned seed = 1;
    unsigned noise = 40;
    int slope = 1;  // of the colours; 0 for none
};

// Smooth colour with noise, so that every band of frequencies has something in it.
inline std::vector<std::uint8_t> make_pixels(const JpegRecipe& recipe, int channels) {
    std::mt19937 random(recipe.seed);
    std::vector<std::uint8_t> pixels;
    for (int y = 0; y < recipe.height; ++y) {
        for (int x = 0; x < recipe.width * channels; ++x) {
            const unsigned noise = recipe.noise > 0 ? random() % recipe.noise : 0;
            pixels.push_back(static_cast<std::uint8_t>(
                (recipe.slope * (2 * x + 3 * y) + static_cast<int>(noise)) % 256));
        }
    }
    return pixels;
}

inline std::vector<std::uint8_t> make_jpeg(const JpegRecipe& recipe = {}) {
    const int channels = component_count(recipe.input);
    const Picture picture{recipe.width, recipe.height, recipe.input, make_pixels(recipe, channels)};
    jpeg_scan_info scans[4] = {};
    return write_jpeg(picture, recipe.stored, recipe.quality, [&](jpeg_compress_struct& cinfo) {
        cinfo.restart_interval = static_cast<unsigned>(recipe.restart_interval);
        cinfo.arith_code = recipe.arithmetic ? TRUE : FALSE;
        if (channels > 1) {
            cinfo.comp_info[0].h_samp_factor = recipe.chroma;
            cinfo.comp_info[0].v_samp_factor = recipe.chroma > 2 ? 2 : recipe.chroma;
        }
        if (recipe.progressive) jpeg_simple_progression(&cinfo);
        if (recipe.separate_scans) {
            for (int i = 0; i < cinfo.num_components; ++i) scans[i] = {1, {i}, 0, 63, 0, 0};
            cinfo.scan_info = scans;
            cinfo.num_scans = cinfo.num_components;
        }
    });
}

}  // namespace dl2_test
