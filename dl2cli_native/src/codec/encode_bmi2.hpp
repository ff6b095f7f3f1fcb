// Kernels that need pext, pdep and 256-bit vectors; included, behind encode_scalar.hpp, by the
// files of the instruction sets that have them.

// refine_block of encode_scalar.hpp, with all corrections of a block gathered at once. Positions
// are counted in two ways: in the block, and among the coefficients that were zero (`z`).
inline void refine_block_bmi2(std::uint64_t known, std::uint64_t fresh, std::uint64_t bit,
                              std::uint64_t negative, RefineScan& scan) {
    const std::uint64_t corrections = _pext_u64(bit, known);
    const std::uint64_t zeros = scan.band & ~known;
    const auto known_count = static_cast<std::uint32_t>(_mm_popcnt_u64(known));
    std::uint32_t given = 0;   // corrections that are out
    std::uint32_t next_z = 0;  // the first zero behind the last symbol
    if (fresh != 0) {
        end_refine_run(scan);
        RefineToken* out = scan.out;
        std::uint64_t fresh_z = _pext_u64(fresh, zeros);
        do {
            const auto z = static_cast<std::uint32_t>(_tzcnt_u64(fresh_z));
            const auto position = static_cast<std::uint32_t>(_tzcnt_u64(fresh));
            fresh_z &= fresh_z - 1;
            fresh &= fresh - 1;
            std::uint32_t run = z - next_z;
            for (; run > 15; run -= 16, next_z += 16) {
                const std::uint64_t last = std::uint64_t{1} << (next_z + 15);
                const auto at = static_cast<std::uint32_t>(_tzcnt_u64(_pdep_u64(last, zeros)));
                const std::uint32_t passed = at - scan.ss - (next_z + 15);
                out = put_refine(out, kZeroRun, 0, 0,
                                 _bzhi_u64(corrections >> (given & 63), passed - given),
                                 passed - given);
                given = passed;
            }
            const std::uint32_t passed = position - scan.ss - z;
            out =
                put_refine(out, (run << 4) | 1, ((negative >> position) & 1) ^ 1, 1,
                           _bzhi_u64(corrections >> (given & 63), passed - given), passed - given);
            given = passed;
            next_z = z + 1;
        } while (fresh != 0);
        scan.out = out;
    }
    const std::uint32_t behind = known_count - given;
    const std::uint32_t left = scan.se + 1 - scan.ss - given - next_z;
    if (left > 0) {
        count_refine_run(scan, behind > 0 ? corrections >> (given & 63) : 0, behind);
    }
}

inline void refine_blocks_bmi2(const BitPlanes& masks, std::size_t count, RefineScan& scan) {
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t known = masks.nonzero[scan.al + 1][i] & scan.band;
        const std::uint64_t fresh = masks.nonzero[scan.al][i] & scan.band & ~known;
        refine_block_bmi2(known, fresh, masks.bit[scan.al][i], masks.negative[i], scan);
    }
}

inline std::uint8_t* stuff_bytes_avx2(const std::uint8_t* begin, const std::uint8_t* end,
                                      std::uint8_t* out) {
    const __m256i ones = _mm256_set1_epi8(-1);
    while (end - begin >= 32) {
        const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(begin));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), bytes);
        const auto hits =
            static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, ones)));
        if (__builtin_expect(hits == 0, 1)) {
            begin += 32;
            out += 32;
        } else {
            const std::uint32_t copied = _tzcnt_u32(hits) + 1;
            begin += copied;
            out += copied;
            *out++ = 0;
        }
    }
    for (; begin < end; ++begin) {
        *out++ = *begin;
        if (*begin == 0xFF) *out++ = 0;
    }
    return out;
}
