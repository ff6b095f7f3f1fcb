// Sources may define a quantisation table anew between scans (T.81, B.2.4.1). libjpeg remembers for
// each component the table of its first scan, but writes only what the four slots hold at the end.
#pragma once

#include <cstddef>
#include <cstdio>

#include <jpeglib.h>  // needs <cstddef> and <cstdio> before it

namespace dl2 {

// Gives each component a slot that holds its own table, if the slots do not fit any more. Four
// components need no more than the four slots that there are. To be called inside a guard.
void settle_quant_slots(jpeg_decompress_struct& in);

}  // namespace dl2
