#include "codec/encode/markers.hpp"

#include <algorithm>
#include <iterator>

namespace dl2::codec {
namespace {

std::uint8_t high(std::size_t value) {
    return static_cast<std::uint8_t>(value >> 8);
}

std::uint8_t low(std::size_t value) {
    return static_cast<std::uint8_t>(value);
}

// A JFIF version that does not exist would make every decoder warn; libjpeg's own is 1.1.
void put_jfif(const ParsedJpeg& source, std::vector<std::uint8_t>& out) {
    const bool known = source.jfif && source.jfif_version[0] == 1;
    const std::uint8_t minor = known ? source.jfif_version[1] : 1;
    out.insert(out.end(), {0xFF, 0xE0, 0, 16, 'J', 'F', 'I', 'F', 0, 1, minor, source.density_unit,
                           high(source.density_x), low(source.density_x), high(source.density_y),
                           low(source.density_y), 0, 0});
}

void put_adobe(ColorSpace color, std::vector<std::uint8_t>& out) {
    const std::uint8_t transform = color == ColorSpace::ycck ? 2 : 0;
    out.insert(out.end(),
               {0xFF, 0xEE, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, transform});
}

void put_quantisation(const Component& component, std::uint8_t number,
                      std::vector<std::uint8_t>& out) {
    const bool wide = std::any_of(std::begin(component.quant), std::end(component.quant),
                                  [](std::uint16_t step) { return step > 255; });
    const std::size_t length = 3 + kBlockSize * (wide ? 2 : 1);
    out.insert(out.end(), {0xFF, 0xDB, high(length), low(length),
                           static_cast<std::uint8_t>((wide ? 0x10 : 0) | number)});
    for (const std::uint16_t step : component.quant) {
        if (wide) out.push_back(high(step));
        out.push_back(low(step));
    }
}

}  // namespace

void put_file_header(const ParsedJpeg& source, std::vector<std::uint8_t>& out) {
    out.insert(out.end(), {0xFF, 0xD8});
    if (source.color == ColorSpace::gray || source.color == ColorSpace::ycbcr) {
        put_jfif(source, out);
    } else {
        put_adobe(source.color, out);
    }
}

void put_segment(const Segment& segment, std::vector<std::uint8_t>& out) {
    const std::size_t length = segment.payload.size + 2;
    out.insert(out.end(), {0xFF, segment.marker, high(length), low(length)});
    out.insert(out.end(), segment.payload.data, segment.payload.data + segment.payload.size);
}

bool put_frame_header(const ParsedJpeg& source, const JpegHeader& header,
                      std::vector<std::uint8_t>& out) {
    const Coefficients& image = source.frame;
    for (std::size_t i = 0; i < image.component_count; ++i) {
        const Component& component = image.components[i];
        const std::uint8_t number = header.components[i].quant_table;
        const Component* same = nullptr;
        for (std::size_t j = 0; j < i && same == nullptr; ++j) {
            if (header.components[j].quant_table == number) same = &image.components[j];
        }
        if (same == nullptr) {
            put_quantisation(component, number, out);
        } else if (!std::equal(std::begin(component.quant), std::end(component.quant),
                               std::begin(same->quant))) {
            return false;
        }
    }
    const std::size_t length = 8 + 3 * std::size_t{image.component_count};
    out.insert(out.end(),
               {0xFF, 0xC2, high(length), low(length), 8, high(image.height), low(image.height),
                high(image.width), low(image.width), low(image.component_count)});
    for (std::size_t i = 0; i < image.component_count; ++i) {
        const Component& component = image.components[i];
        out.insert(out.end(),
                   {component.id, static_cast<std::uint8_t>((component.h << 4) | component.v),
                    header.components[i].quant_table});
    }
    return true;
}

void put_huffman_table(const HuffmanTable& table, bool ac, std::uint8_t number,
                       std::vector<std::uint8_t>& out) {
    const std::size_t length = 19 + table.value_count;
    out.insert(out.end(), {0xFF, 0xC4, high(length), low(length),
                           static_cast<std::uint8_t>((ac ? 0x10 : 0) | number)});
    out.insert(out.end(), table.bits.begin() + 1, table.bits.end());
    out.insert(out.end(), table.values.begin(), table.values.begin() + table.value_count);
}

void put_scan_header(const Coefficients& image, const Scan& scan, const std::uint8_t* tables,
                     std::vector<std::uint8_t>& out) {
    const auto count = static_cast<std::uint8_t>(scan.components.size());
    out.insert(out.end(), {0xFF, 0xDA, 0, static_cast<std::uint8_t>(6 + 2 * count), count});
    for (const std::uint8_t component : scan.components) {
        out.push_back(image.components[component].id);
        // Tables that a scan does not use are number 0, as the standard's authors recommend.
        const std::uint8_t number = tables[component];
        const bool dc_table = scan.ss == 0 && scan.ah == 0;
        out.push_back(static_cast<std::uint8_t>(scan.ss > 0 ? number : dc_table ? number << 4 : 0));
    }
    out.insert(out.end(), {scan.ss, scan.se, static_cast<std::uint8_t>((scan.ah << 4) | scan.al)});
}

}  // namespace dl2::codec
