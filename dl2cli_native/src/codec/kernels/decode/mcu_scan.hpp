// Scans of whole MCUs: the DC scans of progressive images, and sequential scans.
#pragma once

#include "codec/kernels/decode/symbols.hpp"

namespace dl2::codec::DL2_CODEC_ISA {

// The parts of a job that the compiler should keep in registers.
struct McuState {
    BitState bits;
    bool extreme;
    bool bad;
};

DL2_INLINE McuState load(const McuJob& job) {
    return {job.bits, job.extreme, job.bad};
}

DL2_INLINE void store(McuJob& job, const McuState& s) {
    job.bits = s.bits;
    job.extreme = s.extreme;
    job.bad = s.bad;
}

DL2_INLINE bool running(const McuState& s) {
    return !s.bad && s.bits.at < s.bits.limit;
}

// The difference to the DC coefficient before. Takes at most 31 bits of a full buffer.
DL2_INLINE u32 dc_difference(McuState& s, const DcTable& table) {
    u32 entry = table.entries[s.bits.buffer >> (64 - kDcBits)];
    if (DL2_UNLIKELY(entry == 0)) {
        const u32 found = find_code(table.slow, s.bits.buffer);
        const u32 size = found & 15;
        const u32 length = found >> 8;
        if (found == 0) s.bad = true;
        entry = (length + size) | size << 16 | length << 24;
    }
    const u64 value_bits = s.bits.buffer << (entry >> 24);
    skip(s.bits, entry & 63);
    return static_cast<u32>(extend(value_bits, (entry >> 16) & 255));
}

// The next DC coefficient of a component. One beyond its limit is remembered.
DL2_INLINE i16 next_dc(McuState& s, const McuBlock& block, i32& prediction, u32 al) {
    const u32 sum = static_cast<u32>(prediction) + dc_difference(s, *block.dc);
    prediction = static_cast<i32>(sum);
    const u32 value = sum << al;
    s.extreme |= value + block.dc_limit > 2 * block.dc_limit;
    return static_cast<i16>(value);
}

static void dc_first(McuJob& job, std::size_t mcus) {
    McuState s = load(job);
    McuBlock* const blocks = job.blocks;
    for (std::size_t mcu = 0; mcu < mcus && running(s); ++mcu) {
        for (u32 i = 0; i < job.block_count; ++i) {
            McuBlock& block = blocks[i];
            refill(s.bits);
            *block.out = next_dc(s, block, job.prediction[block.component], job.al);
            block.out += block.step;
        }
    }
    store(job, s);
}

static void dc_refine(McuJob& job, std::size_t mcus) {
    McuState s = load(job);
    McuBlock* const blocks = job.blocks;
    for (std::size_t mcu = 0; mcu < mcus && running(s); ++mcu) {
        refill(s.bits);  // at least 56 bits, for at most 10 blocks
        for (u32 i = 0; i < job.block_count; ++i) {
            McuBlock& block = blocks[i];
            const u32 bit = static_cast<u32>(s.bits.buffer >> 63) << job.al;
            *block.out = static_cast<i16>(static_cast<u16>(*block.out) | bit);
            block.out += block.step;
            skip(s.bits, 1);
        }
    }
    store(job, s);
}

// A symbol of a sequential block that the lookup does not hold; false if the block ends with it.
DL2_INLINE bool sequential_special(McuState& s, u64 entry, const SlowTable& slow, i16* block,
                                   u64& position) {
    refill(s.bits);
    const Symbol symbol = take_symbol(s.bits, entry, slow);
    const bool zero_run = symbol.size == 0 && symbol.run == kZeroRunLength;
    if (symbol.size == 0 && !zero_run) {
        // libjpeg takes a run without a value for an end of block, as which none is written.
        if (DL2_UNLIKELY(!symbol.found || symbol.run != 0)) s.bad = true;
        return false;
    }
    const u64 place = position + symbol.run;
    if (DL2_UNLIKELY(place + zero_run >= 64 || symbol.size > kMaxValueBits)) {
        s.bad = true;
        return false;
    }
    block[place] = static_cast<i16>(extend(symbol.value_bits, symbol.size));
    position = place + 1;
    refill(s.bits);
    return position < 64;
}

DL2_INLINE void sequential_ac(McuState& s, const FirstTable& table, i16* block) {
    u64 position = 1;
    while (true) {
        refill(s.bits);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
            const u64 entry = table.pairs[s.bits.buffer >> (64 - kFirstBits)];
            if (DL2_UNLIKELY(position + ((entry >> 24) & 255) > 64)) {
                if (!sequential_special(s, entry, table.slow, block, position)) return;
                continue;
            }
            const u64 next = position + ((entry >> 8) & 255);
            block[position + ((entry >> 16) & 255)] = static_cast<i16>(entry >> 32);
            block[next - 1] = static_cast<i16>(entry >> 48);
            skip(s.bits, entry & 63);
            position = next;
            if ((entry & 64) != 0 || next == 64) return;
        }
    }
}

static void sequential(McuJob& job, std::size_t mcus) {
    McuState s = load(job);
    McuBlock* const blocks = job.blocks;
    for (std::size_t mcu = 0; mcu < mcus && running(s); ++mcu) {
        for (u32 i = 0; i < job.block_count && s.bits.at < s.bits.limit; ++i) {
            McuBlock& place = blocks[i];
            i16* const block = place.out;
            std::memset(block, 0, 64 * sizeof *block);
            refill(s.bits);
            const i16 dc = next_dc(s, place, job.prediction[place.component], 0);
            sequential_ac(s, *place.ac, block);
            block[0] = dc;  // now: a store that the next loads need not wait for
            place.out += place.step;
        }
    }
    store(job, s);
}

}  // namespace dl2::codec::DL2_CODEC_ISA
