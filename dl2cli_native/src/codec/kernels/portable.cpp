// The loops in plain C++, for every processor.

#include "codec/kernels/all.hpp"

namespace dl2::codec {

const EntropyKernels& portable_entropy_kernels() {
    return portable::kEntropyKernels;
}

const EncodeKernels& portable_encode_kernels() {
    return portable::kEncodeKernels;
}

const PixelKernels& portable_pixel_kernels() {
    return portable::kPixelKernels;
}

}  // namespace dl2::codec
