// The loops with AVX2 and BMI2; CMakeLists.txt gives this file its compiler flags.
#if defined(__x86_64__)
#define DL2_CODEC_AVX2

#include "codec/kernels/all.hpp"

namespace dl2::codec {

const EntropyKernels& avx2_entropy_kernels() {
    return avx2::kEntropyKernels;
}

const EncodeKernels& avx2_encode_kernels() {
    return avx2::kEncodeKernels;
}

const PixelKernels& avx2_pixel_kernels() {
    return avx2::kPixelKernels;
}

}  // namespace dl2::codec
#endif
