// First scans of AC coefficients (Ah = 0; T.81, G.1.2.2).
//
// One lookup of eleven bits gives up to two coefficients with their values and the end of the
// block, and going on to the next block takes no branch: most blocks end after a few coefficients,
// and a branch there would be mispredicted in almost every one. Two scans of different bands or
// components are independent streams: decoded in turn in one loop, each fills the other's waits.
#pragma once

#include "codec/kernels/decode/symbols.hpp"

namespace dl2::codec::DL2_CODEC_ISA {

DL2_INLINE bool running(const FirstJob& s) {
    return s.block < s.end && s.bits.at < s.bits.limit;
}

DL2_INLINE void give_up(FirstJob& s) {
    s.bad = true;
    s.block = s.end;
}

// Ends `1 << run` blocks and more, as the value's bits say; the scan may end before.
DL2_INLINE void end_blocks(FirstJob& s, const Symbol& symbol) {
    const u64 blocks = (u64{1} << symbol.run) + ((symbol.value_bits >> 1) >> (63 - symbol.run));
    const u64 left = static_cast<u64>(s.end - s.block) / 64;
    s.block += 64 * (blocks < left ? blocks : left);
    s.position = s.ss;
}

// A symbol that the lookup does not hold, or that the block may have no room for. libjpeg puts a
// coefficient without room somewhere else, without a word; here the image is given up.
DL2_INLINE void first_special(FirstJob& s, u64 entry) {
    refill(s.bits);
    const Symbol symbol = take_symbol(s.bits, entry, s.table->slow);
    if (symbol.size == 0 && symbol.run != kZeroRunLength) {
        if (DL2_UNLIKELY(!symbol.found)) return give_up(s);
        end_blocks(s, symbol);
    } else {
        const u64 place = s.position + symbol.run;
        if (DL2_UNLIKELY(place >= s.stop || symbol.size + s.al > kMaxValueBits)) {
            return give_up(s);
        }
        const u32 value = static_cast<u32>(extend(symbol.value_bits, symbol.size));
        s.block[place] = static_cast<i16>(value << s.al);
        s.position = place + 1;
        if (s.position == s.stop) {
            if (DL2_UNLIKELY(symbol.size == 0)) return give_up(s);
            s.block += 64;
            s.position = s.ss;
        }
    }
    refill(s.bits);  // the steps that follow count on their bits
}

// One lookup: at most kFirstBits bits.
DL2_INLINE void first_step(FirstJob& s) {
    const u64 entry = s.table->pairs[s.bits.buffer >> (64 - kFirstBits)];
    if (DL2_UNLIKELY(s.position + ((entry >> 24) & 255) > s.stop)) return first_special(s, entry);
    const u64 next = s.position + ((entry >> 8) & 255);
    s.block[s.position + ((entry >> 16) & 255)] = static_cast<i16>(entry >> 32);
    s.block[next - 1] = static_cast<i16>(entry >> 48);
    skip(s.bits, entry & 63);
    const u64 ended = ((entry >> 6) & 1) | (next == s.stop);
    s.block += ended << 6;
    // A conditional move, which compilers would rather make a branch.
    s.position = next - ((next - s.ss) & (0 - ended));
}

constexpr int kStepsARefill = 4;
static_assert(kStepsARefill * kFirstBits <= 56, "a refill gives 56 bits");

// The loops work on copies of the jobs, which compilers keep in registers.
static void first(FirstJob& job) {
    FirstJob s = job;
    while (running(s)) {
        refill(s.bits);
        for (int i = 0; i < kStepsARefill && s.block < s.end; ++i) first_step(s);
    }
    job = s;
}

static void first_pair(FirstJob& job_a, FirstJob& job_b) {
    FirstJob a = job_a;
    FirstJob b = job_b;
    while (running(a) && running(b)) {
        refill(a.bits);
        refill(b.bits);
        for (int i = 0; i < kStepsARefill && a.block < a.end && b.block < b.end; ++i) {
            first_step(a);
            first_step(b);
        }
    }
    job_a = a;
    job_b = b;
}

}  // namespace dl2::codec::DL2_CODEC_ISA
