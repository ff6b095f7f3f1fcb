// All loops of one instruction set, as tables of functions. Included once by each of portable.cpp,
// avx2.cpp and avx512.cpp.
#pragma once

#include "codec/kernels/decode/colors.hpp"
#include "codec/kernels/decode/first_scan.hpp"
#include "codec/kernels/decode/idct_blocks.hpp"
#include "codec/kernels/decode/masks.hpp"
#include "codec/kernels/decode/mcu_scan.hpp"
#include "codec/kernels/decode/refine_scan.hpp"
#include "codec/kernels/decode/unstuff.hpp"
#include "codec/kernels/encode/bits.hpp"
#include "codec/kernels/encode/blocks.hpp"
#include "codec/kernels/encode/planes.hpp"

namespace dl2::codec::DL2_CODEC_ISA {

static const EntropyKernels kEntropyKernels = {
    find_marker, unstuff, reverse_bits, dc_first,     dc_refine,    sequential, first,
    first_pair,  refine,  refine_pair,  refine_start, find_nonzero, apply,
};

static const EncodeKernels kEncodeKernels = {
    planes,         encode_first, encode_refine, end_first_run,
    end_refine_run, emit_first,   emit_refine,   stuff,
};

static const PixelKernels kPixelKernels = {idct, idct_dc, h2v1, h2v2, h1v2, ycc_to_rgbx};

}  // namespace dl2::codec::DL2_CODEC_ISA
