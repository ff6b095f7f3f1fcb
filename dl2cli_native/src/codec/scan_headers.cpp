// Scan headers (T.81, B.2.3): what each says, and whether frame, tables and earlier scans allow it.
#include <algorithm>

#include "codec/marker_parser.hpp"

namespace dl2::codec {
namespace {

constexpr std::uint8_t kMaxAl = 13;            // T.81, G.1.1.1.2
constexpr std::uint32_t kMaxBlocksInMcu = 10;  // T.81, B.2.3

// Whether a table can be right: the codes of each length fit, and DC symbols are numbers of bits,
// which are at most 15.
bool sound(const HuffmanSpec& table, bool dc) {
    std::uint32_t code = 0;
    for (unsigned length = 1; length <= 16; ++length) {
        code += table.counts[length];
        if (code >= (1u << length)) return false;  // no code is all ones
        code <<= 1;
    }
    const std::uint8_t* const end = table.symbols + table.symbol_count();
    return !dc || std::all_of(table.symbols, end, [](std::uint8_t s) { return s <= 15; });
}

}  // namespace

Declined MarkerParser::scan_header(Bytes payload, ScanHeader& scan) {
    if (!frame_seen_) return "a scan before the frame header";
    const Coefficients& frame = jpeg_.frame;
    if (payload.size == 0) return "a scan header of the wrong length";
    scan.component_count = payload[0];
    if (scan.component_count == 0 || scan.component_count > frame.component_count ||
        payload.size != 4 + 2 * scan.component_count) {
        return "a scan header of the wrong length";
    }
    std::uint32_t blocks = 0;
    std::uint8_t selectors[kMaxComponents] = {};
    for (std::uint32_t i = 0; i < scan.component_count; ++i) {
        const std::uint8_t id = payload[1 + 2 * i];
        selectors[i] = payload[2 + 2 * i];
        std::uint8_t index = 0;
        while (index < frame.component_count && frame.components[index].id != id) ++index;
        if (index == frame.component_count) return "a scan of an unknown component";
        // T.81 wants the order of the frame; it also says that no component comes twice.
        if (i > 0 && index <= scan.components[i - 1]) return "components in an unusual order";
        scan.components[i] = index;
        blocks += std::uint32_t{frame.components[index].h} * frame.components[index].v;
    }
    if (scan.interleaved() && blocks > kMaxBlocksInMcu) return "an MCU of more than ten blocks";
    const std::uint8_t* const tail = payload.data + 1 + 2 * scan.component_count;
    scan.ss = tail[0];
    scan.se = tail[1];
    scan.ah = tail[2] >> 4;
    scan.al = tail[2] & 15;
    scan.restart_interval = restart_interval_;
    const std::uint64_t scans = jpeg_.scans.size() + 1;
    if (scans > limits_.max_scans || scans * frame.width * frame.height > limits_.max_scan_pixels) {
        return "more scans than the limits allow";
    }
    if (jpeg_.scans.empty()) {
        if (const Declined reason = guess_colors()) return reason;
    }
    if (const Declined reason = progression(scan)) return reason;
    if (const Declined reason = latch(scan)) return reason;
    return scan_tables(scan, selectors);
}

// Checks that the scan continues where the scans before it stopped, and remembers how far it goes.
// libjpeg warns about scans that do not, or gives up.
Declined MarkerParser::progression(const ScanHeader& scan) {
    if (!jpeg_.progressive) {
        if (scan.ss != 0 || scan.se != 63 || scan.ah != 0 || scan.al != 0) {
            return "a sequential scan with a progression";
        }
        for (std::uint32_t i = 0; i < scan.component_count; ++i) {
            if (latched_[scan.components[i]]) return "a second scan of a component";
        }
        return nullptr;
    }
    const bool dc = scan.ss == 0;
    if (dc ? scan.se != 0 : (scan.se < scan.ss || scan.se > 63 || scan.interleaved())) {
        return "a spectral selection that progressive scans cannot have";
    }
    if (scan.al > kMaxAl || (scan.ah != 0 && scan.ah != scan.al + 1)) {
        return "a successive approximation that progressive scans cannot have";
    }
    for (std::uint32_t i = 0; i < scan.component_count; ++i) {
        std::int8_t* const bits = progress_[scan.components[i]];
        if (!dc && bits[0] == kNeverSeen) return "AC coefficients before the DC ones";
        for (unsigned k = scan.ss; k <= scan.se; ++k) {
            if (bits[k] != (scan.ah == 0 ? kNeverSeen : static_cast<std::int8_t>(scan.ah))) {
                return "a scan that does not continue the ones before it";
            }
            bits[k] = static_cast<std::int8_t>(scan.al);
        }
    }
    return nullptr;
}

// Copies the quantisation table of each component that is scanned for the first time: a table that
// is redefined later does not count for it.
Declined MarkerParser::latch(const ScanHeader& scan) {
    for (std::uint32_t i = 0; i < scan.component_count; ++i) {
        const std::uint8_t index = scan.components[i];
        if (latched_[index]) continue;
        const unsigned slot = quant_slot_[index];
        if (slot > 3 || !quant_defined_[slot]) return "a missing quantisation table";
        std::copy_n(quant_[slot], kBlockSize, jpeg_.frame.components[index].quant);
        latched_[index] = true;
    }
    return nullptr;
}

// Finds the Huffman tables that the scan needs, and checks them.
Declined MarkerParser::scan_tables(ScanHeader& scan, const std::uint8_t* selectors) {
    scan.dc_table.fill(kNoTable);
    scan.ac_table.fill(kNoTable);
    const bool dc = scan.ss == 0 && scan.ah == 0;
    const bool ac = !jpeg_.progressive || scan.ss != 0;
    for (std::uint32_t i = 0; i < scan.component_count; ++i) {
        const unsigned dc_slot = selectors[i] >> 4;
        const unsigned ac_slot = selectors[i] & 15u;
        if (dc_slot > 3 || ac_slot > 3) return "a Huffman table of an unknown kind";
        if (dc) scan.dc_table[i] = dc_[dc_slot];
        if (ac) scan.ac_table[i] = ac_[ac_slot];
        const bool missing =
            (dc && scan.dc_table[i] == kNoTable) || (ac && scan.ac_table[i] == kNoTable);
        if (missing) return "a missing Huffman table";
        if ((dc && !sound(jpeg_.tables[scan.dc_table[i]], true)) ||
            (ac && !sound(jpeg_.tables[scan.ac_table[i]], false))) {
            return "a Huffman table with impossible codes";
        }
    }
    return nullptr;
}

}  // namespace dl2::codec
