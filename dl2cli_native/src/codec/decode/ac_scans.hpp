// The scans of AC coefficients of progressive images.
#pragma once

#include "codec/decode/scratch.hpp"

namespace dl2::codec {

// Decodes all AC scans. The scans of one component follow the file's order where it matters. Scans
// of different components are independent, so two of them are decoded at the same time.
Declined decode_ac_scans(const DecodeContext& context);

// Brings DC coefficients and pending refinements into all blocks.
Declined finish_blocks(ParsedJpeg& jpeg, DecodedScans& scans);

}  // namespace dl2::codec
