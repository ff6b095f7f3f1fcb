#include "codec/decode/ac_scans.hpp"

#include <algorithm>
#include <vector>

#include "codec/decode/segments.hpp"
#include "codec/decode/tables.hpp"

namespace dl2::codec {
namespace {

constexpr Declined kBad = "a Huffman code or a place that does not exist";

// What the two kinds of scans have in common: a run of blocks, in restart intervals, with a job for
// the kernels. A lane holds one scan at a time.
template <class Job>
struct Lane {
    const ScanHeader* scan = nullptr;
    Job job{};
    BitSource source{};

    bool busy() const { return scan != nullptr; }
};

using Queue = std::vector<const ScanHeader*>;

bool by_size(const ScanHeader* a, const ScanHeader* b) {
    return a->data.size > b->data.size;
}

class AcScans {
  public:
    explicit AcScans(const DecodeContext& context) : context_(context) {
        for (const ScanHeader& scan : context.jpeg.scans) {
            if (scan.ss != 0) queues_[scan.components[0]].push_back(&scan);
        }
    }

    Declined run() {
        while (true) {
            const Queue firsts = next_firsts();
            if (const Declined reason = run_lanes<FirstJob>(firsts)) return reason;
            if (firsts.empty() && !refinement_ready()) return nullptr;
            if (const Declined reason = run_lanes<RefineJob>({})) return reason;
        }
    }

  private:
    const Component& component(const ScanHeader& scan) const {
        return context_.jpeg.frame.components[scan.components[0]];
    }
    DecodedPlane& plane(const ScanHeader& scan) const {
        return context_.scans.planes[scan.components[0]];
    }
    std::size_t block_count(const ScanHeader& scan) const {
        return std::size_t{component(scan).blocks_x} * plane(scan).block_rows;
    }
    bool to_the_end(const ScanHeader& scan) const {
        return plane(scan).block_rows == component(scan).blocks_y;
    }

    Queue next_firsts();
    bool refinement_ready() const;
    const ScanHeader* next_refinement(const Lane<RefineJob>* lanes);

    template <class Job>
    Declined run_lanes(Queue queue);
    template <class Job>
    Declined run_with_restarts(Lane<Job>& lane, std::size_t number);
    template <class Job>
    Declined open(Lane<Job>& lane, std::size_t number);
    template <class Job>
    Declined close(Lane<Job>& lane, bool at_end);

    void set_up(Lane<FirstJob>& lane, std::size_t number);
    void set_up(Lane<RefineJob>& lane, std::size_t number);
    void begin(Lane<FirstJob>& lane, std::size_t first, std::size_t count);
    void begin(Lane<RefineJob>& lane, std::size_t first, std::size_t count);
    void run_one(FirstJob& job) { context_.kernels.first(job); }
    void run_one(RefineJob& job) { context_.kernels.refine(job); }
    void run_two(FirstJob& a, FirstJob& b) { context_.kernels.first_pair(a, b); }
    void run_two(RefineJob& a, RefineJob& b) { context_.kernels.refine_pair(a, b); }
    static bool done(const FirstJob& job) {
        return job.block >= job.end || job.bits.at >= job.bits.limit;
    }
    static bool done(const RefineJob& job) {
        return job.block >= job.count || job.bits.at >= job.bits.limit;
    }

    const DecodeContext& context_;
    Queue queues_[kMaxComponents];  // the scans of each component that are still to come
    std::size_t taken_[kMaxComponents] = {};
    bool masks_known_[kMaxComponents] = {};
};

// The first scans that no refinement stands before, the largest first: they touch different
// coefficients, so that their order does not matter.
Queue AcScans::next_firsts() {
    Queue firsts;
    for (std::uint32_t i = 0; i < kMaxComponents; ++i) {
        const std::size_t before = taken_[i];
        while (taken_[i] < queues_[i].size() && queues_[i][taken_[i]]->ah == 0) {
            firsts.push_back(queues_[i][taken_[i]++]);
        }
        if (taken_[i] != before) masks_known_[i] = false;
    }
    std::stable_sort(firsts.begin(), firsts.end(), by_size);
    return firsts;
}

bool AcScans::refinement_ready() const {
    for (std::uint32_t i = 0; i < kMaxComponents; ++i) {
        if (taken_[i] < queues_[i].size()) return true;
    }
    return false;
}

// The next refinement of the component that has the most left to do and is not being worked on.
const ScanHeader* AcScans::next_refinement(const Lane<RefineJob>* lanes) {
    std::size_t most = 0;
    std::uint32_t chosen = kMaxComponents;
    for (std::uint32_t i = 0; i < kMaxComponents; ++i) {
        bool free = taken_[i] < queues_[i].size() && queues_[i][taken_[i]]->ah != 0;
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
            free = free && !(lanes[lane].busy() && lanes[lane].scan->components[0] == i);
        }
        if (!free) continue;
        std::size_t left = 0;
        for (std::size_t scan = taken_[i]; scan < queues_[i].size(); ++scan) {
            left += queues_[i][scan]->data.size + 1;
        }
        if (left > most) {
            most = left;
            chosen = i;
        }
    }
    return chosen == kMaxComponents ? nullptr : queues_[chosen][taken_[chosen]++];
}

void AcScans::set_up(Lane<FirstJob>& lane, std::size_t number) {
    const ScanHeader& scan = *lane.scan;
    FirstTable& table = context_.scratch.first_tables[number];
    build(context_.jpeg.tables[scan.ac_table[0]], scan.al, table);
    lane.job = FirstJob();
    lane.job.table = &table;
    lane.job.ss = scan.ss;
    lane.job.stop = scan.se + 1u;
    lane.job.al = scan.al;
}

void AcScans::begin(Lane<FirstJob>& lane, std::size_t first, std::size_t count) {
    lane.job.bits = start(lane.source);
    lane.job.block = component(*lane.scan).blocks + first * kBlockSize;
    lane.job.end = lane.job.block + count * kBlockSize;
    lane.job.position = lane.job.ss;
}

// Applies what is pending if there is no room for one scan more, or if the masks must be made from
// the coefficients again.
void AcScans::set_up(Lane<RefineJob>& lane, std::size_t number) {
    const ScanHeader& scan = *lane.scan;
    const std::uint8_t index = scan.components[0];
    DecodedPlane& state = plane(scan);
    Coefficient* const blocks = component(scan).blocks;
    const std::size_t count = block_count(scan);
    if (state.pending == kPendingScans || !masks_known_[index]) {
        context_.kernels.apply(blocks, count, state.refined, state.pending, nullptr);
        state.pending = 0;
    }
    std::uint64_t* const nonzero = context_.scratch.nonzero[index];
    if (!masks_known_[index]) context_.kernels.find_nonzero(blocks, count, nonzero);
    masks_known_[index] = true;

    const MaskArrays& masks = context_.scratch.masks[index][state.pending];
    state.refined[state.pending++] = {masks.fresh, masks.negative, masks.corrected, scan.al};
    RefineTable& table = context_.scratch.refine_tables[number];
    build(context_.jpeg.tables[scan.ac_table[0]], table);
    lane.job = RefineJob();
    lane.job.table = &table;
    lane.job.nonzero = nonzero;
    lane.job.fresh = masks.fresh;
    lane.job.negative = masks.negative;
    lane.job.corrected = masks.corrected;
    lane.job.ss = scan.ss;
    lane.job.se = scan.se;
    lane.job.band = (~std::uint64_t{0} >> (63 - scan.se)) & (~std::uint64_t{0} << scan.ss);
}

void AcScans::begin(Lane<RefineJob>& lane, std::size_t first, std::size_t count) {
    context_.kernels.reverse_bits(const_cast<std::uint8_t*>(lane.source.begin), lane.source.size);
    lane.job.bits = start(lane.source);
    lane.job.block = first;
    lane.job.count = first + count;
    context_.kernels.refine_start(lane.job);
}

template <class Job>
Declined AcScans::close(Lane<Job>& lane, bool at_end) {
    if (lane.job.bad) return kBad;
    return check_taken(lane.job.bits, lane.source, at_end);
}

// Decodes a scan with restart intervals, which no other can accompany.
template <class Job>
Declined AcScans::run_with_restarts(Lane<Job>& lane, std::size_t number) {
    const ScanHeader& scan = *lane.scan;
    Segments segments(scan, context_.kernels, context_.scratch.bytes[number]);
    const std::size_t count = block_count(scan);
    const std::size_t interval = scan.restart_interval;
    for (std::size_t first = 0; first < count; first += interval) {
        if (const Declined reason = segments.next(lane.source)) return reason;
        const std::size_t now = std::min(interval, count - first);
        begin(lane, first, now);
        run_one(lane.job);
        // Where only the upper rows are wanted, the last interval may go on.
        const bool whole = to_the_end(scan) || now == interval;
        if (const Declined reason = close(lane, whole)) return reason;
    }
    if (to_the_end(scan) && !segments.at_end()) return "bytes behind the end of a scan";
    return nullptr;
}

template <class Job>
Declined AcScans::open(Lane<Job>& lane, std::size_t number) {
    set_up(lane, number);
    if (lane.scan->restart_interval != 0) {
        const Declined reason = run_with_restarts(lane, number);
        lane.scan = nullptr;
        return reason;
    }
    Segments segments(*lane.scan, context_.kernels, context_.scratch.bytes[number]);
    if (const Declined reason = segments.next(lane.source)) return reason;
    begin(lane, 0, block_count(*lane.scan));
    return nullptr;
}

// Decodes the scans of `queue`, or the refinements that are ready, two at a time.
template <class Job>
Declined AcScans::run_lanes(Queue queue) {
    Lane<Job> lanes[kLanes];
    std::size_t next = 0;
    while (true) {
        for (std::size_t i = 0; i < kLanes; ++i) {
            while (!lanes[i].busy()) {
                if constexpr (std::is_same_v<Job, FirstJob>) {
                    lanes[i].scan = next < queue.size() ? queue[next++] : nullptr;
                } else {
                    lanes[i].scan = next_refinement(lanes);
                }
                if (!lanes[i].busy()) break;
                if (const Declined reason = open(lanes[i], i)) return reason;
            }
        }
        if (!lanes[0].busy() && !lanes[1].busy()) return nullptr;
        if (lanes[0].busy() && lanes[1].busy()) {
            run_two(lanes[0].job, lanes[1].job);
        } else {
            run_one(lanes[lanes[0].busy() ? 0 : 1].job);
        }
        for (Lane<Job>& lane : lanes) {
            if (!lane.busy() || !done(lane.job)) continue;
            if (const Declined reason = close(lane, to_the_end(*lane.scan))) return reason;
            lane.scan = nullptr;
        }
    }
}

}  // namespace

Declined decode_ac_scans(const DecodeContext& context) {
    return AcScans(context).run();
}

Declined finish_blocks(ParsedJpeg& jpeg, DecodedScans& scans) {
    const EntropyKernels& kernels = entropy_kernels();
    for (std::uint32_t i = 0; i < jpeg.frame.component_count; ++i) {
        const Component& component = jpeg.frame.components[i];
        DecodedPlane& plane = scans.planes[i];
        if (plane.dc == nullptr) continue;
        for (std::uint32_t row = 0; row < plane.block_rows; ++row) {
            RefinedBits refined[kPendingScans];
            plane.refined_from(std::size_t{row} * component.blocks_x, refined);
            kernels.apply(component.block(0, row), component.blocks_x, refined, plane.pending,
                          plane.dc + row * plane.dc_stride);
        }
        plane.pending = 0;
    }
    return nullptr;
}

}  // namespace dl2::codec
