// The decoding tables of the entropy kernels, built from the codes of a DHT segment.
#pragma once

#include "codec/kernels/kernels.hpp"
#include "codec/markers.hpp"

namespace dl2::codec {

void build(const HuffmanSpec& spec, DcTable& table);
// For scans that shift values by `al`.
void build(const HuffmanSpec& spec, std::uint32_t al, FirstTable& table);
void build(const HuffmanSpec& spec, RefineTable& table);

}  // namespace dl2::codec
