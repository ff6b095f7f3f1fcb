#include "codec/markers.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "codec/kernels/kernels.hpp"

namespace dl2::codec {
namespace {

constexpr std::uint8_t kSof0 = 0xC0;
constexpr std::uint8_t kSof1 = 0xC1;
constexpr std::uint8_t kSof2 = 0xC2;
constexpr std::uint8_t kDht = 0xC4;
constexpr std::uint8_t kRst0 = 0xD0;
constexpr std::uint8_t kRst7 = 0xD7;
constexpr std::uint8_t kSoi = 0xD8;
constexpr std::uint8_t kEoi = 0xD9;
constexpr std::uint8_t kSos = 0xDA;
constexpr std::uint8_t kDqt = 0xDB;
constexpr std::uint8_t kDri = 0xDD;
constexpr std::uint8_t kApp0 = 0xE0;
constexpr std::uint8_t kApp14 = 0xEE;
constexpr std::uint8_t kApp15 = 0xEF;
constexpr std::uint8_t kCom = 0xFE;

constexpr std::uint32_t kMaxSide = 65500;      // libjpeg's JPEG_MAX_DIMENSION
constexpr std::uint32_t kMaxBlocksInMcu = 10;  // T.81, B.2.3
constexpr std::uint32_t kMaxQuant = 32767;     // what fits the 16 bits of the inverse DCT
constexpr std::uint8_t kMaxAl = 13;            // T.81, G.1.1.1.2
constexpr std::int8_t kNeverSeen = -1;

std::uint32_t big16(const std::uint8_t* at) {
    return (std::uint32_t{at[0]} << 8) | at[1];
}

std::uint32_t divide_up(std::uint32_t a, std::uint32_t b) {
    return (a + b - 1) / b;
}

// Reads the segments of one image, piece by piece. Each step returns why it declines, or null.
class MarkerParser {
  public:
    MarkerParser(const Limits& limits, ParsedJpeg& jpeg) : limits_(limits), jpeg_(jpeg) {
        dc_.fill(kNoTable);
        ac_.fill(kNoTable);
        for (auto& bits : progress_) std::fill(std::begin(bits), std::end(bits), kNeverSeen);
    }

    Declined piece(Bytes bytes);
    Declined finish() const;

  private:
    Declined segment(std::uint8_t marker, Bytes payload);
    Declined frame(std::uint8_t marker, Bytes payload);
    Declined geometry();
    Declined quantisation(Bytes payload);
    Declined huffman(Bytes payload);
    Declined application(std::uint8_t marker, Bytes payload);
    Declined scan_header(Bytes payload, ScanHeader& scan);
    Declined scan_tables(ScanHeader& scan, const std::uint8_t* selectors);
    Declined progression(const ScanHeader& scan);
    Declined latch(const ScanHeader& scan);
    Declined guess_colors();

    const Limits& limits_;
    ParsedJpeg& jpeg_;
    bool started_ = false;  // SOI was met
    bool frame_seen_ = false;
    std::array<std::uint16_t, 4> dc_{};  // the table that each slot holds now
    std::array<std::uint16_t, 4> ac_{};
    std::uint16_t quant_[4][kBlockSize] = {};
    bool quant_defined_[4] = {};
    std::uint8_t quant_slot_[kMaxComponents] = {};
    bool latched_[kMaxComponents] = {};
    std::uint32_t restart_interval_ = 0;
    std::int8_t progress_[kMaxComponents][kBlockSize];  // the last Al of each coefficient
};

// Finds the end of the entropy-coded data that starts at `at`: the next marker that is no restart
// marker, or the end of the piece.
Declined find_scan_end(Bytes bytes, std::size_t at, std::size_t& end) {
    const EntropyKernels& kernels = entropy_kernels();
    while (at < bytes.size) {
        at += kernels.find_marker(bytes.data + at, bytes.size - at);
        if (at == bytes.size) break;
        std::size_t next = at + 1;
        while (next < bytes.size && bytes[next] == 0xFF) ++next;
        if (next == bytes.size) return "a piece that ends inside a marker";
        const bool inside = bytes[next] == 0 || (bytes[next] >= kRst0 && bytes[next] <= kRst7);
        if (!inside) {
            end = at;
            return nullptr;
        }
        if (next != at + 1) return "fill bytes inside a scan";
        at = next + 1;
    }
    end = bytes.size;
    return nullptr;
}

Declined MarkerParser::piece(Bytes bytes) {
    std::size_t at = 0;
    while (at < bytes.size) {
        if (bytes[at] != 0xFF) return "bytes between the markers";
        while (at < bytes.size && bytes[at] == 0xFF) ++at;
        if (at == bytes.size) return "a piece that ends inside a marker";
        const std::uint8_t marker = bytes[at++];
        if (marker == kSoi && !started_) {
            started_ = true;
            continue;
        }
        if (!started_) return "no start marker";
        if (marker == kEoi) {
            jpeg_.end_marker = true;
            return nullptr;
        }
        if (bytes.size - at < 2) return "a piece that ends inside a marker";
        const std::size_t length = big16(bytes.data + at);
        if (length < 2 || length > bytes.size - at) return "a marker longer than its piece";
        const Bytes payload = bytes.slice(at + 2, at + length);
        at += length;
        if (marker != kSos) {
            if (const Declined reason = segment(marker, payload)) return reason;
            continue;
        }
        ScanHeader scan;
        if (const Declined reason = scan_header(payload, scan)) return reason;
        std::size_t end = at;
        if (const Declined reason = find_scan_end(bytes, at, end)) return reason;
        scan.data = bytes.slice(at, end);
        at = end;
        jpeg_.scans.push_back(scan);
    }
    return nullptr;
}

Declined MarkerParser::segment(std::uint8_t marker, Bytes payload) {
    switch (marker) {
        case kSof0:
        case kSof1:
        case kSof2:
            return frame(marker, payload);
        case kDht:
            return huffman(payload);
        case kDqt:
            return quantisation(payload);
        case kDri:
            if (payload.size != 2) return "a restart interval of the wrong length";
            restart_interval_ = big16(payload.data);
            return nullptr;
        default:
            break;
    }
    const bool plain = (marker >= kApp0 && marker <= kApp15) || marker == kCom;
    return plain ? application(marker, payload) : "a marker that the native codec does not read";
}

Declined MarkerParser::frame(std::uint8_t marker, Bytes payload) {
    if (frame_seen_) return "a second frame header";
    frame_seen_ = true;
    Coefficients& frame = jpeg_.frame;
    jpeg_.progressive = marker == kSof2;
    if (payload.size < 6) return "a frame header of the wrong length";
    if (payload[0] != 8) return "a precision other than 8 bits";
    frame.height = big16(payload.data + 1);
    frame.width = big16(payload.data + 3);
    frame.component_count = payload[5];
    if (frame.width == 0 || frame.height == 0 || frame.width > kMaxSide ||
        frame.height > kMaxSide || std::uint64_t{frame.width} * frame.height > limits_.max_pixels) {
        return "a size that libjpeg or the limits refuse";
    }
    if (frame.component_count == 0 || frame.component_count > kMaxComponents) {
        return "more than four components";
    }
    if (payload.size != 6 + 3 * frame.component_count) return "a frame header of the wrong length";
    for (std::uint32_t i = 0; i < frame.component_count; ++i) {
        const std::uint8_t* at = payload.data + 6 + 3 * i;
        Component& component = frame.components[i];
        component.id = at[0];
        component.h = at[1] >> 4;
        component.v = at[1] & 15;
        quant_slot_[i] = at[2];
        for (std::uint32_t j = 0; j < i; ++j) {
            if (frame.components[j].id == component.id) return "two components of the same name";
        }
    }
    return geometry();
}

Declined MarkerParser::geometry() {
    Coefficients& frame = jpeg_.frame;
    Component* const begin = frame.components;
    Component* const end = begin + frame.component_count;
    for (const Component* each = begin; each < end; ++each) {
        if (each->h < 1 || each->h > 4 || each->v < 1 || each->v > 4) return "a sampling factor";
        frame.max_h = std::max<std::uint32_t>(frame.max_h, each->h);
        frame.max_v = std::max<std::uint32_t>(frame.max_v, each->v);
    }
    frame.mcus_x = divide_up(frame.width, 8 * frame.max_h);
    frame.mcus_y = divide_up(frame.height, 8 * frame.max_v);
    for (Component* each = begin; each < end; ++each) {
        if (frame.max_h % each->h != 0 || frame.max_v % each->v != 0) {
            return "sampling ratios that are no whole numbers";
        }
        each->samples_x = divide_up(frame.width * each->h, frame.max_h);
        each->samples_y = divide_up(frame.height * each->v, frame.max_v);
        each->blocks_x = divide_up(each->samples_x, 8);
        each->blocks_y = divide_up(each->samples_y, 8);
    }
    return nullptr;
}

Declined MarkerParser::quantisation(Bytes payload) {
    for (std::size_t at = 0; at < payload.size;) {
        const unsigned bytes = (payload[at] >> 4) + 1u;
        const unsigned slot = payload[at] & 15u;
        ++at;
        if (bytes > 2 || slot > 3) return "a quantisation table of an unknown kind";
        if (payload.size - at < bytes * kBlockSize) return "a short quantisation table";
        for (std::uint16_t& value : quant_[slot]) {
            const std::uint32_t read = bytes == 1 ? payload[at] : big16(payload.data + at);
            if (read > kMaxQuant) return "a quantisation step beyond 15 bits";
            value = static_cast<std::uint16_t>(read);
            at += bytes;
        }
        quant_defined_[slot] = true;
    }
    return nullptr;
}

Declined MarkerParser::huffman(Bytes payload) {
    for (std::size_t at = 0; at < payload.size;) {
        if (payload.size - at < 17) return "a short Huffman table";
        const unsigned kind = payload[at] >> 4;
        const unsigned slot = payload[at] & 15u;
        if (kind > 1 || slot > 3) return "a Huffman table of an unknown kind";
        HuffmanSpec table;
        std::copy_n(payload.data + at + 1, 16, table.counts + 1);
        at += 17;
        const std::size_t count = table.symbol_count();
        if (count > 256 || count > payload.size - at) return "a Huffman table of too many codes";
        std::copy_n(payload.data + at, count, table.symbols);
        at += count;
        if (jpeg_.tables.size() >= kNoTable) return "too many Huffman tables";
        (kind == 0 ? dc_ : ac_)[slot] = static_cast<std::uint16_t>(jpeg_.tables.size());
        jpeg_.tables.push_back(table);
    }
    return nullptr;
}

Declined MarkerParser::application(std::uint8_t marker, Bytes payload) {
    const bool jfif =
        marker == kApp0 && payload.size >= 14 && std::memcmp(payload.data, "JFIF\0", 5) == 0;
    const bool adobe =
        marker == kApp14 && payload.size >= 12 && std::memcmp(payload.data, "Adobe", 5) == 0;
    if ((jfif || adobe) && !jpeg_.scans.empty()) return "colours explained after the first scan";
    if (jfif) {
        jpeg_.jfif = true;
        jpeg_.jfif_version[0] = payload[5];
        jpeg_.jfif_version[1] = payload[6];
        jpeg_.density_unit = payload[7];
        jpeg_.density_x = static_cast<std::uint16_t>(big16(payload.data + 8));
        jpeg_.density_y = static_cast<std::uint16_t>(big16(payload.data + 10));
    }
    if (adobe) {
        jpeg_.adobe = true;
        jpeg_.adobe_transform = payload[11];
    }
    jpeg_.segments.push_back({marker, payload});
    return nullptr;
}

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

// Whether the scan continues what the scans before it have left: libjpeg warns, or gives up, of
// what does not.
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
        return "a spectral selection that progressive scans do not have";
    }
    if (scan.al > kMaxAl || (scan.ah != 0 && scan.ah != scan.al + 1)) {
        return "a successive approximation that progressive scans do not have";
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

// The quantisation table of a component is the one that holds at its first scan.
Declined MarkerParser::latch(const ScanHeader& scan) {
    for (std::uint32_t i = 0; i < scan.component_count; ++i) {
        const std::uint8_t index = scan.components[i];
        if (latched_[index]) continue;
        const unsigned slot = quant_slot_[index];
        if (slot > 3 || !quant_defined_[slot]) return "a quantisation table that is missing";
        std::copy_n(quant_[slot], kBlockSize, jpeg_.frame.components[index].quant);
        latched_[index] = true;
    }
    return nullptr;
}

// Whether the codes of a table exist: each length has room for its codes, and a DC symbol is a
// number of bits.
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
        if (missing) return "a Huffman table that is missing";
        if ((dc && !sound(jpeg_.tables[scan.dc_table[i]], true)) ||
            (ac && !sound(jpeg_.tables[scan.ac_table[i]], false))) {
            return "a Huffman table whose codes do not exist";
        }
    }
    return nullptr;
}

// As libjpeg's default_decompress_parms does it.
Declined MarkerParser::guess_colors() {
    const Component* const c = jpeg_.frame.components;
    const auto ids = [&](char a, char b, char d) {
        return c[0].id == a && c[1].id == b && c[2].id == d;
    };
    switch (jpeg_.frame.component_count) {
        case 1:
            jpeg_.color = ColorSpace::gray;
            return nullptr;
        case 3:
            jpeg_.color = ColorSpace::ycbcr;
            if (jpeg_.jfif) return nullptr;
            if (jpeg_.adobe) {
                if (jpeg_.adobe_transform > 1) return "an Adobe colour transform of no meaning";
                if (jpeg_.adobe_transform == 0) jpeg_.color = ColorSpace::rgb;
            } else if (ids('R', 'G', 'B')) {
                jpeg_.color = ColorSpace::rgb;
            }
            return nullptr;
        case 4:
            jpeg_.color = ColorSpace::cmyk;
            if (!jpeg_.adobe || jpeg_.adobe_transform == 0) return nullptr;
            jpeg_.color = ColorSpace::ycck;
            return jpeg_.adobe_transform == 2 ? nullptr : "an Adobe colour transform of no meaning";
        default:
            return "two components, of no known meaning";
    }
}

Declined MarkerParser::finish() const {
    if (jpeg_.scans.empty()) return "no scans";
    for (std::uint32_t i = 0; i < jpeg_.frame.component_count; ++i) {
        if (!latched_[i]) return "a component that no scan holds";
    }
    return nullptr;
}

}  // namespace

std::uint32_t HuffmanSpec::symbol_count() const {
    return std::accumulate(std::begin(counts), std::end(counts), 0u);
}

void ParsedJpeg::clear() {
    std::vector<ScanHeader> old_scans = std::move(scans);
    std::vector<HuffmanSpec> old_tables = std::move(tables);
    std::vector<Segment> old_segments = std::move(segments);
    *this = ParsedJpeg();
    old_scans.clear();
    old_tables.clear();
    old_segments.clear();
    scans = std::move(old_scans);
    tables = std::move(old_tables);
    segments = std::move(old_segments);
}

Declined parse(const Bytes* fragments, std::size_t count, const Limits& limits, ParsedJpeg& jpeg) {
    jpeg.clear();
    MarkerParser parser(limits, jpeg);
    for (std::size_t i = 0; i < count && !jpeg.end_marker; ++i) {
        if (const Declined reason = parser.piece(fragments[i])) return reason;
    }
    return parser.finish();
}

}  // namespace dl2::codec
