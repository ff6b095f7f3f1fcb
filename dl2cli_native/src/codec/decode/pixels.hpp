// Coefficients to pixels: the inverse DCT, upsampling and colour conversion of the blocks that a
// region needs, a row of MCUs at a time, equal to libjpeg's (islow, fancy upsampling, no block
// smoothing).
#pragma once

#include "codec/decode/scans.hpp"
#include "codec/markers.hpp"
#include "codec/memory.hpp"
#include "dl2/jpeg/region.hpp"

namespace dl2::codec {

// Whether dl2's libjpeg upsamples an image in a way that is known here.
bool can_upsample(const ParsedJpeg& jpeg);

// Gives the rows of a region to `sink`: RGBX, or for four components CMYK as it is stored (YCCK is
// converted to it). This changes the blocks of `jpeg.frame`: the blocks that are used get their DC
// coefficients and pending refinements. `region` is measured in pixels of the image at 1 / `scale`
// of its size (1, 2, 4 or 8), as libjpeg's scaled decoding shows it.
void write_pixels(const ParsedJpeg& jpeg, const DecodedScans& scans, const Region& region,
                  std::uint32_t scale, Memory& memory, RowSink& sink);

}  // namespace dl2::codec
