// The encoder's kernels for every machine.
#include "codec/encode_tokens.hpp"

namespace dl2::codec {
namespace {

#include "codec/encode_scalar.hpp"

std::uint32_t planes(const std::int16_t* blocks, std::size_t count, unsigned top, BitPlanes& masks,
                     std::int16_t* dc) {
    std::uint32_t seen = 0;
    for (std::size_t i = 0; i < count; ++i, blocks += 64) {
        std::uint64_t negative = 0;
        std::uint64_t above = 0;
        std::uint64_t bit[kMaxBitPosition + 1] = {};
        dc[i] = blocks[0];
        for (unsigned k = 1; k < 64; ++k) {
            const std::int32_t value = blocks[k];
            if (value == 0) continue;
            const auto magnitude = static_cast<std::uint32_t>(value < 0 ? -value : value);
            seen |= magnitude;
            const std::uint64_t here = std::uint64_t{1} << k;
            if (value < 0) negative |= here;
            if (magnitude >> top) above |= here;
            for (unsigned p = 0; p < top; ++p) bit[p] |= ((magnitude >> p) & 1) ? here : 0;
        }
        masks.negative[i] = negative;
        masks.nonzero[top][i] = above;
        for (unsigned p = top; p-- > 0;) {
            masks.bit[p][i] = bit[p];
            masks.nonzero[p][i] = above |= bit[p];
        }
    }
    return seen;
}

std::uint8_t* stuff_bytes(const std::uint8_t* begin, const std::uint8_t* end, std::uint8_t* out) {
    while (begin < end) {
        const void* hit = std::memchr(begin, 0xFF, static_cast<std::size_t>(end - begin));
        const auto* stop = hit != nullptr ? static_cast<const std::uint8_t*>(hit) + 1 : end;
        const auto size = static_cast<std::size_t>(stop - begin);
        std::memcpy(out, begin, size);
        out += size;
        if (hit != nullptr) *out++ = 0;
        begin = stop;
    }
    return out;
}

}  // namespace

const EncodeKernels& portable_encode_kernels() {
    static const EncodeKernels kernels = {
        planes, first_blocks, refine_blocks, emit_first_tokens, emit_refine_tokens, stuff_bytes};
    return kernels;
}

}  // namespace dl2::codec
