#include "codec/cpu.hpp"
#include "codec/kernels/encode_kernels.hpp"
#include "codec/kernels/kernels.hpp"

namespace dl2::codec {

const EntropyKernels& entropy_kernels() {
#if defined(__x86_64__)
    if (isa() == Isa::portable || !has_fast_pdep()) return portable_entropy_kernels();
    return isa() == Isa::avx512 ? avx512_entropy_kernels() : avx2_entropy_kernels();
#else
    return portable_entropy_kernels();
#endif
}

const EncodeKernels& encode_kernels() {
#if defined(__x86_64__)
    if (isa() == Isa::portable || !has_fast_pdep()) return portable_encode_kernels();
    return isa() == Isa::avx512 ? avx512_encode_kernels() : avx2_encode_kernels();
#else
    return portable_encode_kernels();
#endif
}

const PixelKernels& pixel_kernels() {
#if defined(__x86_64__)
    if (isa() == Isa::avx512) return avx512_pixel_kernels();
    if (isa() == Isa::avx2) return avx2_pixel_kernels();
#endif
    return portable_pixel_kernels();
}

}  // namespace dl2::codec
