// The one thing of EXIF that decides how an image is shown.
#pragma once

#include "dl2/io/bytes.hpp"

namespace dl2 {

// Whether the payload of an APP1 marker is EXIF.
bool is_exif(Bytes app1);

// The orientation (1 to 8) in an APP1 payload, or 0 if there is none or an
// offset lies.
// Source: EXIF 2.3, section 4.6 (IFD0, tag 0x0112).
std::uint8_t exif_orientation(Bytes app1);

}  // namespace dl2
