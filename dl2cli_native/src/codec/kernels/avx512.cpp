// The loops with AVX-512 and BMI2; CMakeLists.txt gives this file its compiler flags.
#if defined(__x86_64__)
#define DL2_CODEC_AVX512

#include "codec/kernels/all.hpp"

namespace dl2::codec {

const EntropyKernels& avx512_entropy_kernels() {
    return avx512::kEntropyKernels;
}

const EncodeKernels& avx512_encode_kernels() {
    return avx512::kEncodeKernels;
}

const PixelKernels& avx512_pixel_kernels() {
    return avx512::kPixelKernels;
}

}  // namespace dl2::codec
#endif
