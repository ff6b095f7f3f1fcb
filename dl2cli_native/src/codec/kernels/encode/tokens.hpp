// Tokens of AC scans, a block at a time: with plain instructions, and a refinement's with pext.
#pragma once

#include "codec/kernels/bits.hpp"
#include "codec/kernels/encode_kernels.hpp"

namespace dl2::codec::DL2_CODEC_ISA {

DL2_INLINE u32 lowest_bit(u64 mask) {
    return static_cast<u32>(__builtin_ctzll(mask));
}

DL2_INLINE u32 bit_length(u32 value) {  // of a value that is not zero
    return 32 - static_cast<u32>(__builtin_clz(value));
}

constexpr u64 kSymbolCorrections = (u64{1} << kMaxSymbolCorrections) - 1;

DL2_INLINE void end_first_run(FirstScan& scan) {
    if (scan.run == 0) return;
    const u32 bits = bit_length(scan.run) - 1;
    const u32 rest = scan.run & ((1u << bits) - 1);
    *scan.out++ = (bits << 4) | (bits << 8) | (rest << 16);
    scan.run = 0;
}

DL2_INLINE void count_first_run(FirstScan& scan) {
    if (++scan.run == kMaxEndOfBlockRun) end_first_run(scan);
}

// Tokens of a block with non-zero coefficients (T.81, G.1.2.2).
DL2_INLINE void first_block(const i16* block, u64 nonzero, FirstScan& scan) {
    end_first_run(scan);
    FirstToken* out = scan.out;
    u32 next = scan.ss;
    do {
        const u32 position = lowest_bit(nonzero);
        nonzero &= nonzero - 1;
        u32 run = position - next;
        next = position + 1;
        for (; run > 15; run -= 16) *out++ = kZeroRunSymbol;
        const i32 value = block[position];
        const i32 sign = value >> 31;
        const u32 magnitude = static_cast<u32>((value ^ sign) - sign) >> scan.al;
        const u32 bits = bit_length(magnitude) & 15;  // 16 only of what is refused later
        const u32 extra = (magnitude ^ static_cast<u32>(sign)) & ((1u << bits) - 1);
        *out++ = (run << 4) | bits | (bits << 8) | (extra << 16);
    } while (nonzero != 0);
    scan.out = out;
    if (next <= scan.se) count_first_run(scan);
}

DL2_INLINE void end_refine_run(RefineScan& scan) {
    if (scan.run == 0) return;
    const u32 bits = bit_length(scan.run) - 1;
    u64 reversed = 0;  // the run leaves from its highest bit
    for (u32 i = 0; i < bits; ++i) {
        reversed |= u64{(scan.run >> i) & 1} << (bits - 1 - i);
    }
    scan.begin[scan.run_token] = (bits << 4) | (bits << 8) | (reversed << 16);
    scan.run = scan.run_corrections = 0;
}

// A symbol, and behind it `low` (one bit, where there is a sign) and then `count` corrections.
DL2_INLINE RefineToken* put_refine(RefineToken* out, u32 symbol, u64 low, u32 low_count,
                                   u64 corrections, u32 count) {
    if (count > kMaxSymbolCorrections) {
        const u32 rest = count - kMaxSymbolCorrections;
        const u64 here = corrections & kSymbolCorrections;
        *out++ = symbol | ((kMaxSymbolCorrections + low_count) << 8) |
                 (((here << low_count) | low) << 16);
        *out++ = kRawBits | (rest << 8) | ((corrections >> kMaxSymbolCorrections) << 16);
        return out;
    }
    *out++ = symbol | ((count + low_count) << 8) | (((corrections << low_count) | low) << 16);
    return out;
}

// Adds a block's end to the run, with the corrections that come before it.
DL2_INLINE void count_refine_run(RefineScan& scan, u64 corrections, u32 count) {
    if (scan.run == 0) scan.run_token = static_cast<std::size_t>(scan.out++ - scan.begin);
    ++scan.run;
    scan.run_corrections += count;
    if (count > kMaxSymbolCorrections) {
        *scan.out++ =
            kRawBits | (kMaxSymbolCorrections << 8) | ((corrections & kSymbolCorrections) << 16);
        corrections >>= kMaxSymbolCorrections;
        count -= kMaxSymbolCorrections;
    }
    if (count > 0) *scan.out++ = kRawBits | (count << 8) | (corrections << 16);
    if (scan.run == kMaxEndOfBlockRun || scan.run_corrections > kMaxRunCorrections) {
        end_refine_run(scan);
    }
}

// Tokens of a block (T.81, G.1.2.3): `known` coefficients get a correction bit each, from `bit`;
// `fresh` ones become non-zero.
DL2_INLINE void refine_block(u64 known, u64 fresh, u64 bit, u64 negative, RefineScan& scan) {
    u64 corrections = 0;
    u32 count = 0;
    u32 zeros = 0;  // since the last symbol
    u32 next = scan.ss;
    if (fresh != 0) {
        end_refine_run(scan);
        RefineToken* out = scan.out;
        u64 rest = known | fresh;
        do {
            const u32 position = lowest_bit(rest);
            rest &= rest - 1;
            zeros += position - next;
            next = position + 1;
            for (; zeros > 15; zeros -= 16) {
                out = put_refine(out, kZeroRunSymbol, 0, 0, corrections, count);
                corrections = count = 0;
            }
            const u64 here = u64{1} << position;
            if (known & here) {
                corrections |= ((bit >> position) & 1) << count++;
                continue;
            }
            out = put_refine(out, (zeros << 4) | 1, ((negative >> position) & 1) ^ 1, 1,
                             corrections, count);
            corrections = count = zeros = 0;
            fresh &= ~here;
        } while (fresh != 0);
        scan.out = out;
        known = rest;  // what is behind the last fresh one
    }
    const u32 left = scan.se + 1 - next;  // coefficients, of which some are known
    for (; known != 0; known &= known - 1) {
        corrections |= ((bit >> lowest_bit(known)) & 1) << count++;
    }
    // Nothing is left to say of a block whose last coefficient is fresh.
    if (left > 0) count_refine_run(scan, corrections, count);
}

#if defined(DL2_CODEC_BMI2)

// refine_block of above, with all corrections of a block gathered at once. Positions
// are counted in two ways: in the block, and among the coefficients that were zero (`z`).
DL2_INLINE void refine_block_bmi2(u64 known, u64 fresh, u64 bit, u64 negative, RefineScan& scan) {
    const u64 corrections = _pext_u64(bit, known);
    const u64 zeros = scan.band & ~known;
    const auto known_count = static_cast<u32>(_mm_popcnt_u64(known));
    u32 given = 0;   // corrections that are out
    u32 next_z = 0;  // the first zero behind the last symbol
    if (fresh != 0) {
        end_refine_run(scan);
        RefineToken* out = scan.out;
        u64 fresh_z = _pext_u64(fresh, zeros);
        do {
            const auto z = static_cast<u32>(_tzcnt_u64(fresh_z));
            const auto position = static_cast<u32>(_tzcnt_u64(fresh));
            fresh_z &= fresh_z - 1;
            fresh &= fresh - 1;
            u32 run = z - next_z;
            for (; run > 15; run -= 16, next_z += 16) {
                const u64 last = u64{1} << (next_z + 15);
                const auto at = static_cast<u32>(_tzcnt_u64(_pdep_u64(last, zeros)));
                const u32 passed = at - scan.ss - (next_z + 15);
                out = put_refine(out, kZeroRunSymbol, 0, 0,
                                 _bzhi_u64(corrections >> (given & 63), passed - given),
                                 passed - given);
                given = passed;
            }
            const u32 passed = position - scan.ss - z;
            out =
                put_refine(out, (run << 4) | 1, ((negative >> position) & 1) ^ 1, 1,
                           _bzhi_u64(corrections >> (given & 63), passed - given), passed - given);
            given = passed;
            next_z = z + 1;
        } while (fresh != 0);
        scan.out = out;
    }
    const u32 behind = known_count - given;
    const u32 left = scan.se + 1 - scan.ss - given - next_z;
    if (left > 0) {
        count_refine_run(scan, behind > 0 ? corrections >> (given & 63) : 0, behind);
    }
}

#endif

}  // namespace dl2::codec::DL2_CODEC_ISA
