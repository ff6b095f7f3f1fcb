// Coefficients of JPEGs, read and written by libjpeg itself: what the native codec is held against.
#pragma once

#include <cstring>
#include <random>
#include <vector>

#include "codec/coefficients.hpp"
#include "dl2/jpeg/scan_script.hpp"
#include "make_jpeg.hpp"

namespace dl2_test {

// The coefficients of an image, in memory of its own.
struct OwnedCoefficients {
    dl2::codec::Coefficients image;
    std::vector<dl2::codec::Coefficient> blocks[dl2::codec::kMaxComponents];
    std::uint8_t tables[dl2::codec::kMaxComponents] = {};  // of Huffman codes, by component
    dl2::ColorModel color = dl2::ColorModel::ycbcr;
};

inline dl2::ColorModel color_model(J_COLOR_SPACE space) {
    switch (space) {
        case JCS_GRAYSCALE:
            return dl2::ColorModel::gray;
        case JCS_RGB:
            return dl2::ColorModel::rgb;
        case JCS_CMYK:
            return dl2::ColorModel::cmyk;
        case JCS_YCCK:
            return dl2::ColorModel::ycck;
        default:
            return dl2::ColorModel::ycbcr;
    }
}

inline void copy_component(jpeg_decompress_struct& in, jvirt_barray_ptr coefficients, int index,
                           OwnedCoefficients& out) {
    const jpeg_component_info& info = in.comp_info[index];
    dl2::codec::Component& component = out.image.components[index];
    component.id = static_cast<std::uint8_t>(info.component_id);
    component.h = static_cast<std::uint8_t>(info.h_samp_factor);
    component.v = static_cast<std::uint8_t>(info.v_samp_factor);
    component.blocks_x = info.width_in_blocks;
    component.blocks_y = info.height_in_blocks;
    auto& blocks = out.blocks[index];
    blocks.resize(component.block_count() * 64);
    for (std::uint32_t y = 0; y < component.blocks_y; ++y) {
        JBLOCKARRAY row = in.mem->access_virt_barray(reinterpret_cast<j_common_ptr>(&in),
                                                     coefficients, y, 1, FALSE);
        for (std::uint32_t x = 0; x < component.blocks_x; ++x) {
            for (std::size_t k = 0; k < 64; ++k) {
                blocks[(std::size_t{y} * component.blocks_x + x) * 64 + k] =
                    row[0][x][dl2::codec::kNaturalOrder[k]];
            }
        }
    }
    component.blocks = blocks.data();
}

// Reads a JPEG as libjpeg does; `then` is called while libjpeg still holds its coefficients.
template <class Then>
OwnedCoefficients read_by_libjpeg(const std::vector<std::uint8_t>& jpeg, Then then) {
    OwnedCoefficients out;
    jpeg_decompress_struct in{};
    jpeg_error_mgr errors{};
    in.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&in);
    jpeg_mem_src(&in, jpeg.data(), static_cast<unsigned long>(jpeg.size()));
    jpeg_read_header(&in, TRUE);
    jvirt_barray_ptr* coefficients = jpeg_read_coefficients(&in);
    out.image.width = in.image_width;
    out.image.height = in.image_height;
    out.image.component_count = static_cast<std::uint32_t>(in.num_components);
    out.image.max_h = static_cast<std::uint32_t>(in.max_h_samp_factor);
    out.image.max_v = static_cast<std::uint32_t>(in.max_v_samp_factor);
    out.image.mcus_x = (in.image_width + 8 * out.image.max_h - 1) / (8 * out.image.max_h);
    out.image.mcus_y = (in.image_height + 8 * out.image.max_v - 1) / (8 * out.image.max_v);
    out.color = color_model(in.jpeg_color_space);
    for (int i = 0; i < in.num_components; ++i) {
        copy_component(in, coefficients[i], i, out);
        const bool ycc = in.jpeg_color_space == JCS_YCbCr || in.jpeg_color_space == JCS_YCCK;
        out.tables[i] = ycc && (i == 1 || i == 2) ? 1 : 0;
    }
    then(in, coefficients);
    jpeg_destroy_decompress(&in);
    return out;
}

// The whole file that libjpeg writes with these scans.
inline std::vector<std::uint8_t> write_by_libjpeg(jpeg_decompress_struct& in,
                                                  jvirt_barray_ptr* coefficients,
                                                  const std::vector<dl2::ImageScan>& plan) {
    jpeg_compress_struct out{};
    jpeg_error_mgr errors{};
    out.err = jpeg_std_error(&errors);
    jpeg_create_compress(&out);
    unsigned char* memory = nullptr;
    unsigned long size = 0;
    jpeg_mem_dest(&out, &memory, &size);
    jpeg_copy_critical_parameters(&in, &out);
    std::vector<jpeg_scan_info> scans(plan.size());
    for (std::size_t i = 0; i < plan.size(); ++i) {
        const dl2::Scan& scan = plan[i].scan;
        scans[i].comps_in_scan = static_cast<int>(scan.components.size());
        for (std::size_t c = 0; c < scan.components.size(); ++c) {
            scans[i].component_index[c] = scan.components[c];
        }
        scans[i].Ss = scan.ss;
        scans[i].Se = scan.se;
        scans[i].Ah = scan.ah;
        scans[i].Al = scan.al;
    }
    out.scan_info = scans.data();
    out.num_scans = static_cast<int>(scans.size());
    jpeg_write_coefficients(&out, coefficients);
    jpeg_finish_compress(&out);
    jpeg_destroy_compress(&out);
    std::vector<std::uint8_t> jpeg(memory, memory + size);
    std::free(memory);
    return jpeg;
}

// A valid script of random cuts: bands, bit positions, and the order in which they come.
inline dl2::ScanScript random_script(std::mt19937& random) {
    const auto below = [&](std::uint32_t end) { return random() % end; };
    // What each component still has to say: a band, and the bit position that it reached.
    struct Part {
        dl2::Scan scan;
        bool started = false;
    };
    std::vector<Part> parts;
    dl2::ScanScript script;
    const auto dc_al = static_cast<std::uint8_t>(below(4));
    if (below(2) == 0) {
        script.push_back({{0, 1, 2}, 0, 0, 0, dc_al});
        if (dc_al > 0) parts.push_back({{{0, 1, 2}, 0, 0, 0, dc_al}, true});
    } else {
        for (std::uint8_t c = 0; c < 3; ++c) {
            script.push_back({{c}, 0, 0, 0, dc_al});
            if (dc_al > 0) parts.push_back({{{c}, 0, 0, 0, dc_al}, true});
        }
    }
    for (std::uint8_t c = 0; c < 3; ++c) {
        for (std::uint32_t ss = 1; ss < 64;) {
            const std::uint32_t se = below(3) == 0 ? 63 : ss + below(64 - ss);
            const std::uint32_t al = below(8) == 0 ? below(11) : below(4);
            parts.push_back({{{c},
                              static_cast<std::uint8_t>(ss),
                              static_cast<std::uint8_t>(se),
                              0,
                              static_cast<std::uint8_t>(al)},
                             false});
            ss = se + 1;
        }
    }
    while (!parts.empty()) {
        const std::size_t at = below(static_cast<std::uint32_t>(parts.size()));
        Part& part = parts[at];
        if (part.started) {
            part.scan.ah = part.scan.al;
            --part.scan.al;
        }
        part.started = true;
        script.push_back(part.scan);
        if (part.scan.al == 0) parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at));
    }
    return script;
}

}  // namespace dl2_test
