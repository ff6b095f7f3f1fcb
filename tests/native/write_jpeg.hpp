// Writes a JPEG with libjpeg itself: what the makers of test images share.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <jpeglib.h>  // needs <cstdio> before it

namespace dl2_test {

inline int component_count(J_COLOR_SPACE space) {
    switch (space) {
        case JCS_GRAYSCALE:
            return 1;
        case JCS_CMYK:
        case JCS_YCCK:
            return 4;
        default:
            return 3;
    }
}

struct Picture {
    int width = 0;
    int height = 0;
    J_COLOR_SPACE space = JCS_RGB;
    std::vector<std::uint8_t> pixels;  // height x width x component_count(space)
};

// `configure(cinfo)` sets the options, from libjpeg's defaults for the colour space `stored` on.
// What it points libjpeg at must live until this returns.
template <class Configure>
std::vector<std::uint8_t> write_jpeg(Picture picture, J_COLOR_SPACE stored, int quality,
                                     const Configure& configure) {
    jpeg_compress_struct cinfo{};
    jpeg_error_mgr errors{};
    cinfo.err = jpeg_std_error(&errors);
    jpeg_create_compress(&cinfo);
    unsigned char* memory = nullptr;
    unsigned long size = 0;
    jpeg_mem_dest(&cinfo, &memory, &size);
    cinfo.image_width = static_cast<JDIMENSION>(picture.width);
    cinfo.image_height = static_cast<JDIMENSION>(picture.height);
    cinfo.input_components = component_count(picture.space);
    cinfo.in_color_space = picture.space;
    jpeg_set_defaults(&cinfo);
    jpeg_set_colorspace(&cinfo, stored);
    jpeg_set_quality(&cinfo, quality, TRUE);
    configure(cinfo);
    jpeg_start_compress(&cinfo, TRUE);
    const std::size_t stride =
        static_cast<std::size_t>(picture.width) * static_cast<unsigned>(cinfo.input_components);
    while (cinfo.next_scanline < cinfo.image_height) {
        JSAMPROW row = picture.pixels.data() + cinfo.next_scanline * stride;
        jpeg_write_scanlines(&cinfo, &row, 1);
    }
    jpeg_finish_compress(&cinfo);
    jpeg_destroy_compress(&cinfo);
    std::vector<std::uint8_t> jpeg(memory, memory + size);
    std::free(memory);
    return jpeg;
}

}  // namespace dl2_test
