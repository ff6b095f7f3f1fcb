// The kernels without vectors. Each instruction set's file includes this one, within its own
// anonymous namespace, and compiles it for its own instructions: tzcnt, lzcnt, shlx.

inline std::uint32_t lowest_bit(std::uint64_t mask) {
    return static_cast<std::uint32_t>(__builtin_ctzll(mask));
}

inline std::uint32_t bit_length(std::uint32_t value) {  // of a value that is not zero
    return 32 - static_cast<std::uint32_t>(__builtin_clz(value));
}

inline std::uint64_t low_bits(std::uint32_t count) {  // count < 64
    return (std::uint64_t{1} << count) - 1;
}

inline void end_first_run(FirstScan& scan) {
    if (scan.run == 0) return;
    const std::uint32_t bits = bit_length(scan.run) - 1;
    const std::uint32_t rest = scan.run & ((1u << bits) - 1);
    *scan.out++ = (bits << 4) | (bits << 8) | (rest << 16);
    scan.run = 0;
}

inline void count_first_run(FirstScan& scan) {
    if (++scan.run == kMaxEndOfBlockRun) end_first_run(scan);
}

// Tokens of a block with non-zero coefficients (T.81, G.1.2.2).
inline void first_block(const std::int16_t* block, std::uint64_t nonzero, FirstScan& scan) {
    end_first_run(scan);
    FirstToken* out = scan.out;
    std::uint32_t next = scan.ss;
    do {
        const std::uint32_t position = lowest_bit(nonzero);
        nonzero &= nonzero - 1;
        std::uint32_t run = position - next;
        next = position + 1;
        for (; run > 15; run -= 16) *out++ = kZeroRun;
        const std::int32_t value = block[position];
        const std::int32_t sign = value >> 31;
        const std::uint32_t magnitude =
            static_cast<std::uint32_t>((value ^ sign) - sign) >> scan.al;
        const std::uint32_t bits = bit_length(magnitude) & 15;  // 16 only of what is refused later
        const std::uint32_t extra =
            (magnitude ^ static_cast<std::uint32_t>(sign)) & ((1u << bits) - 1);
        *out++ = (run << 4) | bits | (bits << 8) | (extra << 16);
    } while (nonzero != 0);
    scan.out = out;
    if (next <= scan.se) count_first_run(scan);
}

inline void end_refine_run(RefineScan& scan) {
    if (scan.run == 0) return;
    const std::uint32_t bits = bit_length(scan.run) - 1;
    std::uint64_t reversed = 0;  // the run leaves from its highest bit
    for (std::uint32_t i = 0; i < bits; ++i) {
        reversed |= std::uint64_t{(scan.run >> i) & 1} << (bits - 1 - i);
    }
    scan.begin[scan.run_token] = (bits << 4) | (bits << 8) | (reversed << 16);
    scan.run = scan.run_corrections = 0;
}

// A symbol, and behind it `low` (one bit, where there is a sign) and then `count` corrections.
inline RefineToken* put_refine(RefineToken* out, std::uint32_t symbol, std::uint64_t low,
                               std::uint32_t low_count, std::uint64_t corrections,
                               std::uint32_t count) {
    if (count > kMaxSymbolCorrections) {
        const std::uint32_t rest = count - kMaxSymbolCorrections;
        const std::uint64_t here = corrections & low_bits(kMaxSymbolCorrections);
        *out++ = symbol | ((kMaxSymbolCorrections + low_count) << 8) |
                 (((here << low_count) | low) << 16);
        *out++ = kRawBits | (rest << 8) | ((corrections >> kMaxSymbolCorrections) << 16);
        return out;
    }
    *out++ = symbol | ((count + low_count) << 8) | (((corrections << low_count) | low) << 16);
    return out;
}

// Counts a block's end, with the corrections in front of it, into the run.
inline void count_refine_run(RefineScan& scan, std::uint64_t corrections, std::uint32_t count) {
    if (scan.run == 0) scan.run_token = static_cast<std::size_t>(scan.out++ - scan.begin);
    ++scan.run;
    scan.run_corrections += count;
    if (count > kMaxSymbolCorrections) {
        *scan.out++ = kRawBits | (kMaxSymbolCorrections << 8) |
                      ((corrections & low_bits(kMaxSymbolCorrections)) << 16);
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
inline void refine_block(std::uint64_t known, std::uint64_t fresh, std::uint64_t bit,
                         std::uint64_t negative, RefineScan& scan) {
    std::uint64_t corrections = 0;
    std::uint32_t count = 0;
    std::uint32_t zeros = 0;  // since the last symbol
    std::uint32_t next = scan.ss;
    if (fresh != 0) {
        end_refine_run(scan);
        RefineToken* out = scan.out;
        std::uint64_t rest = known | fresh;
        do {
            const std::uint32_t position = lowest_bit(rest);
            rest &= rest - 1;
            zeros += position - next;
            next = position + 1;
            for (; zeros > 15; zeros -= 16) {
                out = put_refine(out, kZeroRun, 0, 0, corrections, count);
                corrections = count = 0;
            }
            const std::uint64_t here = std::uint64_t{1} << position;
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
    const std::uint32_t left = scan.se + 1 - next;  // coefficients, of which some are known
    for (; known != 0; known &= known - 1) {
        corrections |= ((bit >> lowest_bit(known)) & 1) << count++;
    }
    // Nothing is left to say of a block whose last coefficient is fresh.
    if (left > 0) count_refine_run(scan, corrections, count);
}

inline void first_blocks(const std::int16_t* blocks, const BitPlanes& masks, std::size_t count,
                         FirstScan& scan) {
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t nonzero = masks.nonzero[scan.al][i] & scan.band;
        if (nonzero == 0) {
            count_first_run(scan);
        } else {
            first_block(blocks + 64 * i, nonzero, scan);
        }
    }
}

inline void refine_blocks(const BitPlanes& masks, std::size_t count, RefineScan& scan) {
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t known = masks.nonzero[scan.al + 1][i] & scan.band;
        const std::uint64_t fresh = masks.nonzero[scan.al][i] & scan.band & ~known;
        refine_block(known, fresh, masks.bit[scan.al][i], masks.negative[i], scan);
    }
}

inline void store_big_endian(std::uint8_t* out, std::uint64_t word) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    std::memcpy(out, &word, sizeof word);
}

inline void store_little_endian(std::uint8_t* out, std::uint64_t word) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    std::memcpy(out, &word, sizeof word);
}

// At most 7 pending bits, 16 of the code and 14 behind it: a word holds them always.
inline std::uint8_t* emit_first_tokens(const FirstToken* token, const FirstToken* end,
                                       const std::uint32_t* codes, std::uint8_t* out) {
    std::uint64_t word = 0;  // the pending bits are its highest
    std::uint32_t pending = 0;
    for (; token < end; ++token) {
        const std::uint32_t code = codes[*token & 255];
        const std::uint32_t extra = (*token >> 8) & 255;
        pending += (code & 255) + extra;
        const std::uint64_t bits = (std::uint64_t{code >> 8} << extra) | (*token >> 16);
        word |= bits << ((64 - pending) & 63);
        store_big_endian(out, word);
        out += pending >> 3;
        word <<= pending & 56;
        pending &= 7;
    }
    if (pending > 0) *out++ = static_cast<std::uint8_t>((word >> 56) | (0xFFu >> pending));
    return out;
}

inline std::uint64_t reverse_bits_of_bytes(std::uint64_t word) {
    word = ((word >> 1) & 0x5555555555555555) | ((word & 0x5555555555555555) << 1);
    word = ((word >> 2) & 0x3333333333333333) | ((word & 0x3333333333333333) << 2);
    return ((word >> 4) & 0x0F0F0F0F0F0F0F0F) | ((word & 0x0F0F0F0F0F0F0F0F) << 4);
}

// Written from the lowest bit, and turned round at the end, a byte at a time: so correction bits
// go out as the masks give them. At most 7 pending bits, 16 of the code and 40 behind it.
inline std::uint8_t* emit_refine_tokens(const RefineToken* token, const RefineToken* end,
                                        const std::uint32_t* codes, std::uint8_t* out) {
    std::uint32_t reversed[256];
    for (std::uint32_t symbol = 0; symbol < 256; ++symbol) {
        const std::uint32_t length = codes[symbol] & 255;
        std::uint32_t code = 0;
        for (std::uint32_t i = 0; i < length; ++i) {
            code |= ((codes[symbol] >> (8 + i)) & 1) << (length - 1 - i);
        }
        reversed[symbol] = (code << 8) | length;
    }
    reversed[kRawBits] = 0;
    std::uint8_t* const begin = out;
    std::uint64_t word = 0;  // the pending bits are its lowest
    std::uint32_t pending = 0;
    for (; token < end; ++token) {
        const std::uint32_t code = reversed[*token & 255];
        const std::uint32_t length = code & 255;
        const std::uint64_t bits = (code >> 8) | ((*token >> 16) << length);
        word |= bits << pending;
        store_little_endian(out, word);
        pending += length + ((*token >> 8) & 255);
        out += pending >> 3;
        word >>= pending & 56;
        pending &= 7;
    }
    if (pending > 0) *out++ = static_cast<std::uint8_t>(word | (0xFFu << pending));
    store_little_endian(out, 0);
    for (std::uint8_t* at = begin; at < out; at += 8) {  // also of the bytes behind the end
        std::uint64_t eight;
        std::memcpy(&eight, at, sizeof eight);
        eight = reverse_bits_of_bytes(eight);
        std::memcpy(at, &eight, sizeof eight);
    }
    return out;
}
