// Which of a source's APPn and COM segments its progressive form keeps.
#pragma once

#include <cstdint>

#include "dl2/io/bytes.hpp"
#include "dl2/jpeg/codec.hpp"

namespace dl2 {

// Whether some payload of this marker may be kept, so that the segment has to be read at all.
bool may_keep_segment(KeepMetadata keep, std::uint8_t marker);

// Whether the segment with this payload is kept.
bool keeps_segment(KeepMetadata keep, std::uint8_t marker, Bytes payload);

}  // namespace dl2
