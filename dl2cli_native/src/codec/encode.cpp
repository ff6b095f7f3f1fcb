#include "codec/encode.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "codec/encode_dc.hpp"
#include "codec/encode_huffman.hpp"
#include "codec/encode_segments.hpp"
#include "codec/growing.hpp"
#include "codec/kernels/encode_kernels.hpp"

namespace dl2::codec {
namespace {

constexpr std::uint32_t kMaxAcMagnitude = 1023;  // 10 bits, for samples of 8

// Whether each scan goes on where the ones before it stopped (T.81, G.1.1.1), and every component
// gets its DC coefficients.
bool valid_progression(const std::vector<ImageScan>& plan, std::size_t component_count) {
    std::array<std::array<int, kBlockSize>, kMaxComponents> reached;
    for (auto& component : reached) component.fill(-1);
    for (const ImageScan& planned : plan) {
        const Scan& scan = planned.scan;
        const bool ac = scan.ss > 0;
        if (scan.components.empty() || scan.components.size() > component_count) return false;
        if (scan.ss > scan.se || scan.se >= kBlockSize || (!ac && scan.se != 0)) return false;
        if (ac && scan.components.size() > 1) return false;
        if (scan.al > kMaxBitPosition || (scan.ah != 0 && scan.ah != scan.al + 1)) return false;
        for (const std::uint8_t component : scan.components) {
            if (component >= component_count || (ac && reached[component][0] < 0)) return false;
            for (std::size_t k = scan.ss; k <= scan.se; ++k) {
                const int before = reached[component][k];
                if (before < 0 ? scan.ah != 0 : scan.ah != before || scan.ah == 0) return false;
                reached[component][k] = scan.al;
            }
        }
    }
    return std::all_of(reached.begin(),
                       reached.begin() + static_cast<std::ptrdiff_t>(component_count),
                       [](const auto& component) { return component[0] >= 0; });
}

template <class Token>
void count_symbols(const Token* token, const Token* end, Histogram& histogram) {
    // Two histograms: a count that was just written can't be read at once.
    Histogram odd{};
    histogram.fill(0);
    for (; end - token >= 2; token += 2) {
        ++histogram[token[0] & 255];
        ++odd[token[1] & 255];
    }
    if (token < end) ++histogram[*token & 255];
    for (std::size_t i = 0; i < 256; ++i) histogram[i] += odd[i];
}

// A scan on its way: its tables, and its stuffed bytes in the arena of all scans.
struct ScanOutput {
    bool has_table[2] = {};
    HuffmanTable tables[2];
    std::size_t begin = 0;
    std::size_t end = 0;
};

}  // namespace

struct ScanEncoder::State {
    const EncodeKernels* kernels = nullptr;
    BitPlanes masks;
    std::array<Growing<std::int16_t>, kMaxComponents> dc;
    std::vector<Growing<FirstToken>> first_tokens;  // of each first scan of one component
    std::vector<Growing<RefineToken>> refine_tokens;
    std::vector<FirstScan> first;
    std::vector<RefineScan> refine;
    std::vector<std::size_t> first_index;  // in the plan
    std::vector<std::size_t> refine_index;
    Growing<std::uint8_t> raw;    // one scan without byte stuffing
    Growing<std::uint8_t> arena;  // all scans
    std::size_t arena_used = 0;
    std::vector<ScanOutput> outputs;
    Histogram histogram;

    void start_component(std::size_t index, const std::vector<ImageScan>& plan);
    bool tokenize(const Component& component, std::int16_t* dc_plane);
    bool finish_component(std::size_t table);
    bool encode_dc(const Coefficients& image, const std::uint8_t* tables,
                   const std::vector<ImageScan>& plan);
    void stuff(const std::uint8_t* end, ScanOutput& output);
    void assemble(const Coefficients& image, const std::uint8_t* tables,
                  const std::vector<ImageScan>& plan, std::vector<std::uint8_t>& out,
                  std::vector<std::size_t>& ends) const;
};

// Finds the AC scans of a component.
void ScanEncoder::State::start_component(std::size_t index, const std::vector<ImageScan>& plan) {
    first.clear();
    refine.clear();
    first_index.clear();
    refine_index.clear();
    for (std::size_t i = 0; i < plan.size(); ++i) {
        const Scan& scan = plan[i].scan;
        if (scan.ss == 0 || scan.components[0] != index) continue;
        const std::uint64_t band =
            (~std::uint64_t{0} << scan.ss) & (~std::uint64_t{0} >> (63 - scan.se));
        if (scan.ah == 0) {
            FirstScan state;
            state.band = band;
            state.ss = scan.ss;
            state.se = scan.se;
            state.al = scan.al;
            first.push_back(state);
            first_index.push_back(i);
        } else {
            RefineScan state;
            state.band = band;
            state.ss = scan.ss;
            state.se = scan.se;
            state.al = scan.al;
            refine.push_back(state);
            refine_index.push_back(i);
        }
    }
    if (first_tokens.size() < first.size()) first_tokens.resize(first.size());
    if (refine_tokens.size() < refine.size()) refine_tokens.resize(refine.size());
}

// One pass over the coefficients of a component: a chunk's masks serve all of its scans.
bool ScanEncoder::State::tokenize(const Component& component, std::int16_t* dc_plane) {
    unsigned top = 0;
    for (const FirstScan& scan : first) top = std::max(top, scan.al);
    for (const RefineScan& scan : refine) top = std::max(top, scan.al + 1);
    for (std::size_t i = 0; i < first.size(); ++i) first[i].out = nullptr;
    const std::size_t blocks = component.block_count();
    std::vector<std::size_t> first_size(first.size(), 0);
    std::vector<std::size_t> refine_size(refine.size(), 0);
    for (std::size_t done = 0; done < blocks; done += kChunkBlocks) {
        const std::size_t count = std::min(kChunkBlocks, blocks - done);
        const Coefficient* const chunk = component.blocks + done * kBlockSize;
        const std::uint32_t seen = kernels->planes(chunk, count, top, masks, dc_plane + done);
        if (seen > kMaxAcMagnitude) return false;
        const std::size_t room = count * kMaxBlockTokens + kTokenSlack;
        for (std::size_t i = 0; i < first.size(); ++i) {
            first_tokens[i].reserve(first_size[i] + room, first_size[i]);
            first[i].out = first_tokens[i].data() + first_size[i];
            kernels->first(chunk, masks, count, first[i]);
            first_size[i] = static_cast<std::size_t>(first[i].out - first_tokens[i].data());
        }
        for (std::size_t i = 0; i < refine.size(); ++i) {
            refine_tokens[i].reserve(refine_size[i] + room, refine_size[i]);
            refine[i].begin = refine_tokens[i].data();
            refine[i].out = refine_tokens[i].data() + refine_size[i];
            kernels->refine(masks, count, refine[i]);
            refine_size[i] = static_cast<std::size_t>(refine[i].out - refine_tokens[i].data());
        }
    }
    return true;
}

// Tables and bytes of a component's AC scans.
bool ScanEncoder::State::finish_component(std::size_t table) {
    for (std::size_t i = 0; i < first.size(); ++i) {
        kernels->end_first(first[i]);
        const FirstToken* const begin = first_tokens[i].data();
        const FirstToken* const end = first[i].out;
        ScanOutput& output = outputs[first_index[i]];
        count_symbols(begin, end, histogram);
        if (!build_huffman(histogram, output.tables[table])) return false;
        output.has_table[table] = true;
        raw.reserve(4 * static_cast<std::size_t>(end - begin) + kTokenSlack, 0);
        const std::uint32_t* const codes = output.tables[table].code.data();
        stuff(kernels->emit_first(begin, end, codes, raw.data()), output);
    }
    for (std::size_t i = 0; i < refine.size(); ++i) {
        kernels->end_refine(refine[i]);
        const RefineToken* const begin = refine_tokens[i].data();
        const RefineToken* const end = refine[i].out;
        ScanOutput& output = outputs[refine_index[i]];
        count_symbols(begin, end, histogram);
        histogram[kRawBits] = 0;
        if (!build_huffman(histogram, output.tables[table])) return false;
        output.has_table[table] = true;
        raw.reserve(8 * static_cast<std::size_t>(end - begin) + kTokenSlack, 0);
        const std::uint32_t* const codes = output.tables[table].code.data();
        stuff(kernels->emit_refine(begin, end, codes, raw.data()), output);
    }
    return true;
}

bool ScanEncoder::State::encode_dc(const Coefficients& image, const std::uint8_t* tables,
                                   const std::vector<ImageScan>& plan) {
    std::array<const std::int16_t*, kMaxComponents> planes{};
    for (std::size_t i = 0; i < image.component_count; ++i) planes[i] = dc[i].data();
    if (first_tokens.empty()) first_tokens.resize(1);
    for (std::size_t i = 0; i < plan.size(); ++i) {
        const Scan& scan = plan[i].scan;
        if (scan.ss != 0) continue;
        ScanOutput& output = outputs[i];
        const std::size_t blocks = count_dc_blocks(image, scan);
        raw.reserve(4 * blocks + kTokenSlack, 0);
        if (scan.ah != 0) {
            stuff(refine_dc(image, planes.data(), scan, raw.data()), output);
            continue;
        }
        first_tokens[0].reserve(blocks, 0);
        FirstToken* const tokens = first_tokens[0].data();
        std::array<Histogram, 2> histograms{};
        if (!tokenize_dc(image, planes.data(), scan, tables, tokens, histograms.data())) {
            return false;
        }
        std::array<std::uint32_t, 256> codes{};
        for (const std::uint8_t component : scan.components) {
            const std::uint8_t table = tables[component];
            if (output.has_table[table]) continue;
            if (!build_huffman(histograms[table], output.tables[table])) return false;
            output.has_table[table] = true;
            std::copy_n(output.tables[table].code.begin(), 16, codes.begin() + 16 * table);
        }
        stuff(kernels->emit_first(tokens, tokens + blocks, codes.data(), raw.data()), output);
    }
    return true;
}

// Moves the raw scan, which ends at `end`, to the arena.
void ScanEncoder::State::stuff(const std::uint8_t* end, ScanOutput& output) {
    const auto size = static_cast<std::size_t>(end - raw.data());
    arena.reserve(arena_used + 2 * size + kTokenSlack, arena_used);
    output.begin = arena_used;
    const std::uint8_t* const stuffed = kernels->stuff(raw.data(), end, arena.data() + arena_used);
    output.end = arena_used = static_cast<std::size_t>(stuffed - arena.data());
}

void ScanEncoder::State::assemble(const Coefficients& image, const std::uint8_t* tables,
                                  const std::vector<ImageScan>& plan,
                                  std::vector<std::uint8_t>& out,
                                  std::vector<std::size_t>& ends) const {
    out.reserve(out.size() + arena_used + 600 * plan.size());  // 600: headers of a scan
    ends.clear();
    for (std::size_t i = 0; i < plan.size(); ++i) {
        const Scan& scan = plan[i].scan;
        bool written[2] = {};
        for (const std::uint8_t component : scan.components) {
            const std::uint8_t table = tables[component];
            if (!outputs[i].has_table[table] || written[table]) continue;
            put_huffman_table(outputs[i].tables[table], scan.ss > 0, table, out);
            written[table] = true;
        }
        put_scan_header(image, scan, tables, out);
        const std::uint8_t* const bytes = arena.data();
        out.insert(out.end(), bytes + outputs[i].begin, bytes + outputs[i].end);
        ends.push_back(out.size());
    }
}

ScanEncoder::ScanEncoder() : state_(std::make_unique<State>()) {}

ScanEncoder::~ScanEncoder() = default;

bool ScanEncoder::encode(const Coefficients& image, const std::uint8_t* tables,
                         const std::vector<ImageScan>& plan, std::vector<std::uint8_t>& out,
                         std::vector<std::size_t>& ends) {
    State& state = *state_;
    if (!valid_progression(plan, image.component_count)) return false;
    state.kernels = &encode_kernels();
    state.outputs.assign(plan.size(), {});
    state.arena_used = 0;
    for (std::size_t i = 0; i < image.component_count; ++i) {
        const Component& component = image.components[i];
        state.dc[i].reserve(component.block_count(), 0);
        state.start_component(i, plan);
        if (!state.tokenize(component, state.dc[i].data())) return false;
        if (!state.finish_component(tables[i])) return false;
    }
    if (!state.encode_dc(image, tables, plan)) return false;
    state.assemble(image, tables, plan, out, ends);
    return true;
}

}  // namespace dl2::codec
