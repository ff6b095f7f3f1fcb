// What a decoding says of its file: sound, or damaged and why. Everything that reads a JPEG asks
// here, so that converting, checking, analysing and loading never disagree.
#pragma once

#include <string>

#include "jpeg/guard.hpp"

namespace dl2 {

// What a warning of libjpeg means for the image.
enum class Doubt {
    none,       // every decoder shows the same pixels
    early_end,  // the data end before an end marker: `damage_of` decides
    pixels,     // what is shown may not be what was encoded
};

// Decides about the warning that libjpeg is about to give.
Doubt doubt_of(j_common_ptr cinfo);

// The reason why the file is damaged; empty if it is sound. To be asked once all scans are read,
// and before libjpeg forgets about them (jpeg_finish_decompress, jpeg_abort). `whole_file` says
// that it is a whole file: one with a component in no scan is damaged, and one that lacks nothing
// but its end marker is sound.
std::string damage_of(const jpeg_decompress_struct& in, const JpegErrors& errors, bool whole_file);

}  // namespace dl2
