// Which of a source's APPn and COM segments its progressive form keeps.
#pragma once

#include <cstdint>

#include "dl2/io/bytes.hpp"
#include "dl2/jpeg/codec.hpp"

namespace dl2 {

bool keeps_segment(KeepMetadata keep, std::uint8_t marker, Bytes payload);

}  // namespace dl2
