// The inverse DCTs of libjpeg that give a block of 4 x 4, 2 x 2 or 1 x 1 samples (jidctred.c): what
// scaled decoding shows. They take the low frequencies and leave out what a smaller block cannot
// hold; much less work than the whole, so plain C++ serves.
#pragma once

#include <cstddef>
#include <cstdint>

#include "codec/coefficients.hpp"

namespace dl2::codec {

// `count` blocks side by side; `quant` in natural order, `size` 4, 2 or 1.
void reduced_idct(const Coefficient* blocks, std::size_t count, const std::uint16_t* quant,
                  std::uint32_t size, std::uint8_t* out, std::size_t stride);

// The same where only the DC coefficients are known.
void reduced_idct_dc(const Coefficient* dc, std::size_t count, std::uint32_t quant,
                     std::uint32_t size, std::uint8_t* out, std::size_t stride);

}  // namespace dl2::codec
