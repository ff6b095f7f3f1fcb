#include "codec/encode/scan_encoder.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <type_traits>

#include "codec/encode/dc.hpp"
#include "codec/encode/growing.hpp"
#include "codec/encode/huffman.hpp"
#include "codec/encode/markers.hpp"
#include "codec/kernels/encode_kernels.hpp"

namespace dl2::codec {
namespace {

constexpr std::size_t kMeasuredAtOnce = 24;      // scans: their tokens are in memory together
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
    if constexpr (std::is_same_v<Token, RefineToken>) histogram[kRawBits] = 0;  // no symbol
}

// A scan being encoded: its tables, and its stuffed bytes in the arena that all scans share.
struct ScanOutput {
    bool has_table[2] = {};
    HuffmanTable tables[2];
    std::size_t begin = 0;
    std::size_t end = 0;
};

// An AC scan of the component at hand, and the memory for its tokens.
template <class State, class Token>
struct AcScan {
    State state;
    std::size_t index = 0;  // in the plan
    Growing<Token> tokens;

    void start(const Scan& scan, std::size_t plan_index) {
        state = {};
        state.band = (~std::uint64_t{0} << scan.ss) & (~std::uint64_t{0} >> (63 - scan.se));
        state.ss = scan.ss;
        state.se = scan.se;
        state.al = scan.al;
        index = plan_index;
    }

    void make_room(std::size_t blocks) {
        const std::size_t used = count();
        tokens.reserve(used + blocks * kMaxBlockTokens + kTokenSlack, used);
        state.begin = tokens.data();
        state.out = state.begin + used;
    }

    std::size_t count() const { return static_cast<std::size_t>(state.out - state.begin); }
};

// The scans of one kind. A component's scans reuse the memory of the component before it.
template <class State, class Token>
struct AcScans {
    std::vector<AcScan<State, Token>> all;
    std::size_t used = 0;

    void add(const Scan& scan, std::size_t plan_index) {
        if (used == all.size()) all.emplace_back();
        all[used++].start(scan, plan_index);
    }
    auto begin() { return all.begin(); }
    auto end() { return all.begin() + static_cast<std::ptrdiff_t>(used); }
};

}  // namespace

struct ScanEncoder::State {
    const EncodeKernels* kernels = nullptr;
    BitPlanes masks;
    std::array<Growing<std::int16_t>, kMaxComponents> dc;
    AcScans<FirstScan, FirstToken> first;
    AcScans<RefineScan, RefineToken> refine;
    Growing<FirstToken> dc_tokens;
    Growing<std::uint8_t> raw;    // one scan without byte stuffing
    Growing<std::uint8_t> arena;  // all scans
    std::size_t arena_used = 0;
    std::vector<ScanOutput> outputs;
    Histogram histogram;

    // All scans of a plan, whether they make up an image or not.
    bool encode(const Coefficients& image, const std::uint8_t* tables,
                const std::vector<ImageScan>& plan, std::vector<std::uint8_t>& out,
                std::vector<std::size_t>& ends);
    void start_component(std::size_t component, const std::vector<ImageScan>& plan);
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
void ScanEncoder::State::start_component(std::size_t component,
                                         const std::vector<ImageScan>& plan) {
    first.used = refine.used = 0;
    for (std::size_t i = 0; i < plan.size(); ++i) {
        const Scan& scan = plan[i].scan;
        if (scan.ss == 0 || scan.components[0] != component) continue;
        if (scan.ah == 0) {
            first.add(scan, i);
        } else {
            refine.add(scan, i);
        }
    }
}

// One pass over the coefficients of a component: a chunk's masks serve all of its scans.
bool ScanEncoder::State::tokenize(const Component& component, std::int16_t* dc_plane) {
    unsigned top = 0;
    for (const auto& scan : first) top = std::max(top, scan.state.al);
    for (const auto& scan : refine) top = std::max(top, scan.state.al + 1);
    const std::size_t blocks = component.block_count();
    for (std::size_t done = 0; done < blocks; done += kChunkBlocks) {
        const std::size_t count = std::min(kChunkBlocks, blocks - done);
        const Coefficient* const chunk = component.blocks + done * kBlockSize;
        const std::uint32_t seen = kernels->planes(chunk, count, top, masks, dc_plane + done);
        if (seen > kMaxAcMagnitude) return false;
        for (auto& scan : first) {
            scan.make_room(count);
            kernels->first(chunk, masks, count, scan.state);
        }
        for (auto& scan : refine) {
            scan.make_room(count);
            kernels->refine(masks, count, scan.state);
        }
    }
    return true;
}

// Tables and bytes of a component's AC scans.
bool ScanEncoder::State::finish_component(std::size_t table) {
    const auto finish = [&](auto& scan, auto emit, std::size_t token_bytes) {
        ScanOutput& output = outputs[scan.index];
        count_symbols(scan.state.begin, scan.state.out, histogram);
        if (!build_huffman(histogram, output.tables[table])) return false;
        output.has_table[table] = true;
        raw.reserve(token_bytes * scan.count() + kTokenSlack, 0);
        const std::uint32_t* const codes = output.tables[table].code.data();
        stuff(emit(scan.state.begin, scan.state.out, codes, raw.data()), output);
        return true;
    };
    for (auto& scan : first) {
        kernels->end_first(scan.state);
        if (!finish(scan, kernels->emit_first, sizeof(FirstToken))) return false;
    }
    for (auto& scan : refine) {
        kernels->end_refine(scan.state);
        if (!finish(scan, kernels->emit_refine, sizeof(RefineToken))) return false;
    }
    return true;
}

bool ScanEncoder::State::encode_dc(const Coefficients& image, const std::uint8_t* tables,
                                   const std::vector<ImageScan>& plan) {
    std::array<const std::int16_t*, kMaxComponents> planes{};
    for (std::size_t i = 0; i < image.component_count; ++i) planes[i] = dc[i].data();
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
        dc_tokens.reserve(blocks, 0);
        FirstToken* const tokens = dc_tokens.data();
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

bool ScanEncoder::State::encode(const Coefficients& image, const std::uint8_t* tables,
                                const std::vector<ImageScan>& plan, std::vector<std::uint8_t>& out,
                                std::vector<std::size_t>& ends) {
    kernels = &encode_kernels();
    outputs.assign(plan.size(), {});
    arena_used = 0;
    const bool any_dc = std::any_of(plan.begin(), plan.end(),
                                    [](const ImageScan& planned) { return planned.scan.ss == 0; });
    for (std::size_t i = 0; i < image.component_count; ++i) {
        const Component& component = image.components[i];
        dc[i].reserve(component.block_count(), 0);
        start_component(i, plan);
        if (first.used + refine.used == 0 && !any_dc) continue;
        if (!tokenize(component, dc[i].data())) return false;
        if (!finish_component(tables[i])) return false;
    }
    if (!encode_dc(image, tables, plan)) return false;
    assemble(image, tables, plan, out, ends);
    return true;
}

ScanEncoder::ScanEncoder() : state_(std::make_unique<State>()) {}

ScanEncoder::~ScanEncoder() = default;

bool ScanEncoder::encode(const Coefficients& image, const std::uint8_t* tables,
                         const std::vector<ImageScan>& plan, std::vector<std::uint8_t>& out,
                         std::vector<std::size_t>& ends) {
    return valid_progression(plan, image.component_count) &&
           state_->encode(image, tables, plan, out, ends);
}

bool ScanEncoder::measure(const Coefficients& image, const std::uint8_t* tables,
                          const std::vector<ImageScan>& plan, std::vector<std::size_t>& sizes) {
    // Component by component, so that each pass over the coefficients serves many scans.
    std::vector<std::size_t> order(plan.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return plan[a].scan.components[0] < plan[b].scan.components[0];
    });
    sizes.assign(plan.size(), 0);
    std::vector<ImageScan> part;
    std::vector<std::uint8_t> out;
    std::vector<std::size_t> ends;
    for (std::size_t begin = 0; begin < order.size(); begin += part.size()) {
        part.clear();
        for (std::size_t i = begin; i < std::min(begin + kMeasuredAtOnce, order.size()); ++i) {
            part.push_back(plan[order[i]]);
        }
        out.clear();
        if (!state_->encode(image, tables, part, out, ends)) return false;
        for (std::size_t i = 0; i < part.size(); ++i) {
            sizes[order[begin + i]] = ends[i] - (i == 0 ? 0 : ends[i - 1]);
        }
    }
    return true;
}

}  // namespace dl2::codec
