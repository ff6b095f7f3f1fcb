// Refinement scans of AC coefficients (Ah > 0; T.81, G.1.2.3).
//
// Such a scan walks over the coefficients that are zero, and reads a correction bit for each that
// is not. Here both are masks: the end of a run of zeros is found with pdep and tzcnt, and all
// correction bits on the way are taken at once. The scan writes masks alone; `apply` touches the
// coefficients once, after the last scan. A step is a chain of some twenty dependent instructions,
// so two scans of different components are decoded in turn.
#pragma once

#include "codec/kernels/bits.hpp"

namespace dl2::codec::DL2_CODEC_ISA {

// Correction bits that are certainly in the buffer behind a code and a sign: 56 - 17 - 1.
constexpr u32 kSureCorrections = 38;

DL2_INLINE bool running(const RefineJob& s) {
    return s.block < s.count && s.bits.at < s.bits.limit;
}

DL2_INLINE void give_up(RefineJob& s) {
    s.bad = true;
    s.block = s.count;
}

DL2_INLINE void begin_block(RefineJob& s) {
    const u64 nonzero = s.nonzero[s.block];
    s.history = nonzero & s.band;
    s.zeros = ~nonzero & s.band;
    s.now_fresh = s.now_negative = s.now_corrected = 0;
    s.position = s.ss;
}

DL2_INLINE void end_block(RefineJob& s) {
    const std::size_t block = s.block;
    s.fresh[block] = s.now_fresh;
    s.negative[block] = s.now_negative;
    s.corrected[block] = s.now_corrected;
    s.nonzero[block] |= s.now_fresh;
    s.block = block + 1;
    if (s.block < s.count) begin_block(s);
}

static void refine_start(RefineJob& s) {
    if (s.count > 0) begin_block(s);
}

// A bit for each 1 of `places`, of which there can be more than the buffer holds (63).
DL2_INLINE u64 take_corrections(BitState& bits, u64 places) {
    if (places == 0) return 0;
    refill_reversed(bits);
    const u32 wanted = ones(places);
    if (wanted <= bits.count) {
        const u64 taken = deposit(bits.buffer, places);
        skip_reversed(bits, wanted);
        return taken;
    }
    const u64 low = deposit((u64{1} << bits.count) - 1, places);
    u64 taken = deposit(bits.buffer, low);
    bits.buffer = 0;
    bits.count = 0;
    refill_reversed(bits);
    const u64 rest = places & ~low;
    taken |= deposit(bits.buffer, rest);
    skip_reversed(bits, ones(rest));
    return taken;
}

// The end of this block, and blocks behind it that have corrections alone; the scan may end before.
static __attribute__((noinline)) void refine_end_blocks(RefineJob& s, u64 blocks) {
    s.now_corrected |= take_corrections(s.bits, s.history & (~u64{0} << s.position));
    end_block(s);
    for (--blocks; blocks > 0 && running(s); --blocks) {
        s.now_corrected = take_corrections(s.bits, s.history);
        end_block(s);
    }
}

// The entry of a code that the lookup does not hold; 0 if there is no such code, or one that
// refinement scans do not have.
DL2_COLD u32 find_refine_entry(const SlowTable& table, u64 buffer) {
    u64 code = 0;
    for (u32 bit = 0; bit < 16; ++bit) code |= ((buffer >> bit) & 1) << (63 - bit);
    const u32 found = find_code(table, code);
    return found == 0 ? 0 : refine_entry(found & 255, found >> 8);
}

DL2_INLINE u32 reverse(u32 value, u32 count) {
    u32 result = 0;
    for (u32 bit = 0; bit < count; ++bit) result |= ((value >> bit) & 1) << (count - 1 - bit);
    return result;
}

DL2_INLINE void refine_step(RefineJob& s) {
    refill_reversed(s.bits);
    u32 entry = s.table->entries[s.bits.buffer & ((1u << kRefineBits) - 1)];
    if (DL2_UNLIKELY(entry == 0)) {
        entry = find_refine_entry(s.table->slow, s.bits.buffer);
        if (entry == 0) return give_up(s);
    }
    const u32 length = entry & 255;
    if ((entry & kRefineEnd) != 0) {
        const u32 run = (entry >> 10) & 15;
        u64 blocks = 1;
        if (DL2_UNLIKELY(run != 0)) {
            const u64 behind = s.bits.buffer >> (length - run);
            blocks = (u64{1} << run) + reverse(static_cast<u32>(low_bits(behind, run)), run);
        }
        skip_reversed(s.bits, length);
        const u64 places = s.history & (~u64{0} << s.position);
        const u32 wanted = ones(places);
        if (DL2_UNLIKELY(blocks != 1 || wanted > s.bits.count)) {
            RefineJob copy = s;  // so that `s` itself can stay in registers
            refine_end_blocks(copy, blocks);
            s = copy;
            return;
        }
        s.now_corrected |= deposit(s.bits.buffer, places);
        skip_reversed(s.bits, wanted);
        return end_block(s);
    }
    const u64 positive = (s.bits.buffer >> (length - 1)) & 1;
    skip_reversed(s.bits, length);
    const u64 ahead = ~u64{0} << s.position;
    const u32 place = place_of(s.zeros & ahead, (entry >> 10) & 15, entry >> 16);
    // Without so many zeros libjpeg puts the coefficient behind the band, without a word.
    if (DL2_UNLIKELY(place > 63)) return give_up(s);
    const u64 passed = low_bits(s.history & ahead, place);
    const u32 wanted = ones(passed);
    if (DL2_UNLIKELY(wanted > kSureCorrections)) {
        BitState copy = s.bits;
        s.now_corrected |= take_corrections(copy, passed);
        s.bits = copy;
    } else {
        s.now_corrected |= deposit(s.bits.buffer, passed);
        skip_reversed(s.bits, wanted);
    }
    const u64 bit = u64{(entry >> 8) & 1} << place;
    s.now_fresh |= bit;
    s.now_negative |= positive ? 0 : bit;
    s.position = place + 1;
    if (s.position > s.se) end_block(s);
}

static void refine(RefineJob& job) {
    RefineJob s = job;
    while (running(s)) refine_step(s);
    job = s;
}

static void refine_pair(RefineJob& job_a, RefineJob& job_b) {
    RefineJob a = job_a;
    RefineJob b = job_b;
    while (running(a) && running(b)) {
        refine_step(a);
        refine_step(b);
    }
    job_a = a;
    job_b = b;
}

}  // namespace dl2::codec::DL2_CODEC_ISA
