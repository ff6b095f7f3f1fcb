// The parser of a JPEG's markers: what it remembers from one segment to the next. markers.cpp reads
// the pieces, the frame and the tables; scan_headers.cpp reads scan headers, and checks each
// against the frame, the tables and the scans before it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "codec/markers.hpp"

namespace dl2::codec {

constexpr std::int8_t kNeverSeen = -1;  // no scan has held this coefficient

// Reads one image, piece by piece, into a ParsedJpeg. Each method returns why it declines, or null.
class MarkerParser {
  public:
    MarkerParser(const Limits& limits, ParsedJpeg& jpeg) : limits_(limits), jpeg_(jpeg) {
        dc_.fill(kNoTable);
        ac_.fill(kNoTable);
        for (auto& bits : progress_) std::fill(std::begin(bits), std::end(bits), kNeverSeen);
    }

    Declined piece(Bytes bytes);
    Declined finish() const;

  private:
    Declined segment(std::uint8_t marker, Bytes payload);
    Declined frame(std::uint8_t marker, Bytes payload);
    Declined geometry();
    Declined quantisation(Bytes payload);
    Declined huffman(Bytes payload);
    Declined application(std::uint8_t marker, Bytes payload);
    Declined scan_header(Bytes payload, ScanHeader& scan);
    Declined scan_tables(ScanHeader& scan, const std::uint8_t* selectors);
    Declined progression(const ScanHeader& scan);
    Declined latch(const ScanHeader& scan);
    Declined guess_colors();

    const Limits& limits_;
    ParsedJpeg& jpeg_;
    bool started_ = false;  // SOI was met
    bool frame_seen_ = false;
    std::array<std::uint16_t, 4> dc_{};  // the table that each slot holds now
    std::array<std::uint16_t, 4> ac_{};
    std::uint16_t quant_[4][kBlockSize] = {};
    bool quant_defined_[4] = {};
    std::uint8_t quant_slot_[kMaxComponents] = {};
    bool latched_[kMaxComponents] = {};
    std::uint32_t restart_interval_ = 0;
    std::int8_t progress_[kMaxComponents][kBlockSize];  // the last Al of each coefficient
};

}  // namespace dl2::codec
