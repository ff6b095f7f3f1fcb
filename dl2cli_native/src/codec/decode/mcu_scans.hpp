// Scans of whole MCUs: the DC scans of progressive images, and sequential scans.
#pragma once

#include "codec/decode/scratch.hpp"

namespace dl2::codec {

Declined decode_mcus(const DecodeContext& context, const ScanHeader& scan);

}  // namespace dl2::codec
