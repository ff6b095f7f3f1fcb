#include "codec/encode/dc.hpp"

#include <algorithm>

namespace dl2::codec {
namespace {

constexpr std::uint32_t kMaxDcBits = 11;  // of a difference, for samples of 8 bits

// Calls visit(component, DC coefficient) for every block, in the order of the scan. The blocks
// that only fill up an MCU repeat the DC coefficient in front of them, which costs the least.
template <class Visit>
void visit_interleaved(const Coefficients& image, DcPlanes dc, const Scan& scan, Visit& visit) {
    for (std::uint32_t mcu_y = 0; mcu_y < image.mcus_y; ++mcu_y) {
        for (std::uint32_t mcu_x = 0; mcu_x < image.mcus_x; ++mcu_x) {
            for (const std::uint8_t index : scan.components) {
                const Component& component = image.components[index];
                const std::int16_t* const plane = dc[index];
                std::int32_t value = 0;
                for (std::uint32_t v = 0; v < component.v; ++v) {
                    const std::size_t y = std::size_t{mcu_y} * component.v + v;
                    for (std::uint32_t h = 0; h < component.h; ++h) {
                        const std::size_t x = std::size_t{mcu_x} * component.h + h;
                        if (y < component.blocks_y && x < component.blocks_x) {
                            value = plane[y * component.blocks_x + x];
                        }
                        visit(index, value);
                    }
                }
            }
        }
    }
}

// Whether an MCU has one block of each component, so that none is there to fill it up.
bool one_block_each(const Coefficients& image, const Scan& scan) {
    return std::all_of(scan.components.begin(), scan.components.end(), [&](std::uint8_t index) {
        return image.components[index].h == 1 && image.components[index].v == 1;
    });
}

template <class Visit>
void visit_dc(const Coefficients& image, DcPlanes dc, const Scan& scan, Visit& visit) {
    const bool alone = scan.components.size() == 1;
    if (!alone && !one_block_each(image, scan)) return visit_interleaved(image, dc, scan, visit);
    const std::size_t blocks = image.components[scan.components[0]].block_count();
    for (std::size_t i = 0; i < blocks; ++i) {
        for (const std::uint8_t index : scan.components) visit(index, dc[index][i]);
    }
}

}  // namespace

std::size_t count_dc_blocks(const Coefficients& image, const Scan& scan) {
    if (scan.components.size() == 1) return image.components[scan.components[0]].block_count();
    std::size_t blocks = 0;
    for (const std::uint8_t index : scan.components) {
        const Component& component = image.components[index];
        blocks += std::size_t{component.h} * component.v * image.mcus_x * image.mcus_y;
    }
    return blocks;
}

bool tokenize_dc(const Coefficients& image, DcPlanes dc, const Scan& scan,
                 const std::uint8_t* tables, FirstToken* tokens, Histogram* histograms) {
    std::int32_t previous[kMaxComponents] = {};
    std::uint32_t counts[kMaxComponents][32] = {};
    auto visit = [&](std::uint8_t component, std::int32_t value) {
        value >>= scan.al;  // the point transform of DC coefficients is an arithmetic shift
        const std::int32_t difference = value - previous[component];
        previous[component] = value;
        const std::int32_t sign = difference >> 31;
        const auto magnitude = static_cast<std::uint32_t>((difference ^ sign) - sign);
        const std::uint32_t bits =
            magnitude == 0 ? 0 : 32 - static_cast<std::uint32_t>(__builtin_clz(magnitude));
        const std::uint32_t extra =
            (magnitude ^ static_cast<std::uint32_t>(sign)) & ((1u << bits) - 1);
        ++counts[component][bits];
        *tokens++ = bits | (std::uint32_t{tables[component]} << 4) | (bits << 8) | (extra << 16);
    };
    visit_dc(image, dc, scan, visit);
    for (const std::uint8_t component : scan.components) {
        for (std::uint32_t bits = 0; bits < 32; ++bits) {
            if (counts[component][bits] == 0) continue;
            if (bits > kMaxDcBits) return false;
            histograms[tables[component]][bits] += counts[component][bits];
        }
    }
    return true;
}

std::uint8_t* refine_dc(const Coefficients& image, DcPlanes dc, const Scan& scan,
                        std::uint8_t* out) {
    std::uint32_t byte = 1;  // a one in front of the bits tells when there are eight
    auto visit = [&](std::uint8_t, std::int32_t value) {
        byte = (byte << 1) | ((static_cast<std::uint32_t>(value) >> scan.al) & 1);
        if (byte < 256) return;
        *out++ = static_cast<std::uint8_t>(byte);
        byte = 1;
    };
    visit_dc(image, dc, scan, visit);
    if (byte == 1) return out;
    while (byte < 256) byte = (byte << 1) | 1;
    *out++ = static_cast<std::uint8_t>(byte);
    return out;
}

}  // namespace dl2::codec
