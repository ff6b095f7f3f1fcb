// JPEGs of every legal shape: samplings, restart intervals, colour spaces, random valid scan
// scripts. Made by libjpeg itself.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <vector>

#include "write_jpeg.hpp"

namespace dl2_test {

struct OddRecipe {
    int width = 97;
    int height = 61;
    J_COLOR_SPACE stored = JCS_YCbCr;
    std::vector<std::array<int, 2>> sampling;  // of each component; empty: 1 x 1
    int restart_interval = 0;
    int quality = 90;
    bool optimize = true;
    std::vector<jpeg_scan_info> scans;  // empty: baseline
    unsigned noise = 40;                // 0: a flat image
    unsigned seed = 1;
};

// Cuts 1..63 into bands, each with its first scan and its refinements; a refinement may be cut,
// too.
inline void random_bands(std::mt19937& random, int component, std::vector<jpeg_scan_info>& out) {
    const auto below = [&](int end) { return static_cast<int>(random() % unsigned(end)); };
    for (int ss = 1; ss <= 63;) {
        const int se = below(3) == 0 ? 63 : std::min(63, ss + below(30));
        const int al = below(2) == 0 ? 0 : below(4);
        out.push_back({1, {component, 0, 0, 0}, ss, se, 0, al});
        for (int bit = al; bit > 0; --bit) {
            const int cut = below(4) == 0 ? ss + below(se - ss + 1) : se;
            out.push_back({1, {component, 0, 0, 0}, ss, cut, bit, bit - 1});
            if (cut < se) out.push_back({1, {component, 0, 0, 0}, cut + 1, se, bit, bit - 1});
        }
        ss = se + 1;
    }
}

// A valid progressive script: the DC scans in front, or some AC scans between them.
inline std::vector<jpeg_scan_info> random_script(std::mt19937& random, int components,
                                                 bool interleave) {
    std::vector<jpeg_scan_info> script;
    const int al = static_cast<int>(random() % 3);
    const auto dc = [&](int ah, int low) {
        if (interleave && components > 1) {
            jpeg_scan_info scan{components, {0, 1, 2, 3}, 0, 0, ah, low};
            script.push_back(scan);
            return;
        }
        for (int i = 0; i < components; ++i) script.push_back({1, {i, 0, 0, 0}, 0, 0, ah, low});
    };
    std::vector<std::vector<jpeg_scan_info>> queues(static_cast<std::size_t>(components));
    for (int i = 0; i < components; ++i)
        random_bands(random, i, queues[static_cast<std::size_t>(i)]);
    dc(0, al);
    int dc_bit = al;
    std::vector<std::size_t> at(queues.size(), 0);
    for (bool left = true; left;) {
        left = dc_bit > 0;
        if (dc_bit > 0 && random() % 4 == 0) {
            dc(dc_bit, dc_bit - 1);
            --dc_bit;
        }
        for (std::size_t i = 0; i < queues.size(); ++i) {
            if (at[i] < queues[i].size() && random() % 2 == 0) script.push_back(queues[i][at[i]++]);
            left = left || at[i] < queues[i].size();
        }
    }
    return script;
}

inline std::vector<std::uint8_t> make_odd_pixels(const OddRecipe& recipe, int channels) {
    std::mt19937 random(recipe.seed);
    std::vector<std::uint8_t> pixels;
    for (int y = 0; y < recipe.height; ++y) {
        for (int x = 0; x < recipe.width * channels; ++x) {
            const unsigned noise = recipe.noise == 0 ? 0 : random() % recipe.noise;
            const auto smooth = static_cast<unsigned>(recipe.noise == 0 ? 99 : 2 * x + 3 * y);
            pixels.push_back(static_cast<std::uint8_t>((smooth + noise) % 256));
        }
    }
    return pixels;
}

inline std::vector<std::uint8_t> make_odd_jpeg(const OddRecipe& recipe) {
    const int channels = component_count(recipe.stored);
    const J_COLOR_SPACE input = channels == 1 ? JCS_GRAYSCALE : channels == 4 ? JCS_CMYK : JCS_RGB;
    const Picture picture{recipe.width, recipe.height, input, make_odd_pixels(recipe, channels)};
    return write_jpeg(picture, recipe.stored, recipe.quality, [&](jpeg_compress_struct& cinfo) {
        cinfo.restart_interval = static_cast<unsigned>(recipe.restart_interval);
        cinfo.optimize_coding = recipe.optimize ? TRUE : FALSE;
        for (std::size_t i = 0; i < static_cast<std::size_t>(channels); ++i) {
            const bool given = i < recipe.sampling.size();
            cinfo.comp_info[i].h_samp_factor = given ? recipe.sampling[i][0] : 1;
            cinfo.comp_info[i].v_samp_factor = given ? recipe.sampling[i][1] : 1;
        }
        if (!recipe.scans.empty()) {
            cinfo.scan_info = recipe.scans.data();
            cinfo.num_scans = static_cast<int>(recipe.scans.size());
        }
    });
}

}  // namespace dl2_test
