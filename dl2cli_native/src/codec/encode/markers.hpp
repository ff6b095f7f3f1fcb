// The marker segments in front of the scans, as libjpeg writes them. Source: T.81, annex B; JFIF
// 1.02; Adobe's technical note 5116.
#pragma once

#include <cstdint>
#include <vector>

#include "codec/encode/huffman.hpp"
#include "codec/markers.hpp"
#include "dl2/jpeg/header.hpp"
#include "dl2/jpeg/scan_script.hpp"

namespace dl2::codec {

// The start marker, and the JFIF or Adobe segment that says what the components mean.
void put_file_header(const ParsedJpeg& source, std::vector<std::uint8_t>& out);

void put_segment(const Segment& segment, std::vector<std::uint8_t>& out);

// Quantisation tables and the frame header. False if one table number stands for two tables, which
// later scans of the source may bring about, and libjpeg refuses to write.
bool put_frame_header(const ParsedJpeg& source, const JpegHeader& header,
                      std::vector<std::uint8_t>& out);

void put_huffman_table(const HuffmanTable& table, bool ac, std::uint8_t number,
                       std::vector<std::uint8_t>& out);

// `tables` is the number of the Huffman tables of each component.
void put_scan_header(const Coefficients& image, const Scan& scan, const std::uint8_t* tables,
                     std::vector<std::uint8_t>& out);

}  // namespace dl2::codec
