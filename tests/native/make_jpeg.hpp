// Makes the JPEGs that the native tests need, with libjpeg itself.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include <jpeglib.h>  // needs <cstdio> before it

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
    jpeg_compress_struct cinfo{};
    jpeg_error_mgr errors{};
    cinfo.err = jpeg_std_error(&errors);
    jpeg_create_compress(&cinfo);
    unsigned char* memory = nullptr;
    unsigned long size = 0;
    jpeg_mem_dest(&cinfo, &memory, &size);
    const int channels = recipe.input == JCS_GRAYSCALE ? 1 : recipe.input == JCS_CMYK ? 4 : 3;
    cinfo.image_width = static_cast<JDIMENSION>(recipe.width);
    cinfo.image_height = static_cast<JDIMENSION>(recipe.height);
    cinfo.input_components = channels;
    cinfo.in_color_space = recipe.input;
    jpeg_set_defaults(&cinfo);
    jpeg_set_colorspace(&cinfo, recipe.stored);
    jpeg_set_quality(&cinfo, recipe.quality, TRUE);
    cinfo.restart_interval = static_cast<unsigned>(recipe.restart_interval);
    cinfo.arith_code = recipe.arithmetic ? TRUE : FALSE;
    if (channels > 1) {
        cinfo.comp_info[0].h_samp_factor = recipe.chroma;
        cinfo.comp_info[0].v_samp_factor = recipe.chroma > 2 ? 2 : recipe.chroma;
    }
    if (recipe.progressive) jpeg_simple_progression(&cinfo);
    jpeg_scan_info scans[4] = {};
    if (recipe.separate_scans) {
        for (int i = 0; i < cinfo.num_components; ++i) scans[i] = {1, {i}, 0, 63, 0, 0};
        cinfo.scan_info = scans;
        cinfo.num_scans = cinfo.num_components;
    }
    jpeg_start_compress(&cinfo, TRUE);
    std::vector<std::uint8_t> pixels = make_pixels(recipe, channels);
    while (cinfo.next_scanline < cinfo.image_height) {
        JSAMPROW row = pixels.data() +
                       cinfo.next_scanline * cinfo.image_width * static_cast<unsigned>(channels);
        jpeg_write_scanlines(&cinfo, &row, 1);
    }
    jpeg_finish_compress(&cinfo);
    jpeg_destroy_compress(&cinfo);
    std::vector<std::uint8_t> jpeg(memory, memory + size);
    std::free(memory);
    return jpeg;
}

}  // namespace dl2_test
