#include "loader/readahead.hpp"

#include <algorithm>

#include "dl2/error.hpp"

namespace dl2 {
namespace {

// Throws if more units than `max_visits` would have to be in memory at a time.
void check_room(const EpochPlan& plan, const std::vector<Visit>& visits, std::size_t max_visits) {
    std::vector<std::size_t> left(visits.size());
    std::transform(visits.begin(), visits.end(), left.begin(), [](auto& v) { return v.uses; });
    std::size_t begun = 0;
    std::size_t in_memory = 0;
    for (const PlannedSample& sample : plan.samples) {
        for (; begun <= sample.visit; ++begun) in_memory += left[begun] > 0 ? 1 : 0;
        if (in_memory > max_visits) {
            throw Error(ErrorKind::argument, "the plan needs more records in memory than allowed");
        }
        if (--left[sample.visit] == 0) --in_memory;
    }
}

}  // namespace

Readahead::Readahead(const EpochPlan& plan, std::size_t units, std::size_t max_visits)
    : visits_(plan.visits.size()), max_visits_(max_visits) {
    for (std::size_t i = 0; i < visits_.size(); ++i) {
        visits_[i].unit = plan.visits[i];
        if (plan.visits[i] >= units) {
            throw Error(ErrorKind::argument, "the plan names a record that is not there");
        }
    }
    for (const PlannedSample& sample : plan.samples) ++visits_.at(sample.visit).uses;
    check_room(plan, visits_, max_visits_);
}

Visit* Readahead::begin() {
    while (!finished()) {
        Visit& visit = visits_[next_++];
        if (visit.uses == 0) continue;
        ++in_memory_;
        return &visit;
    }
    return nullptr;
}

bool Readahead::release(Visit& visit) {
    if (--visit.uses > 0) return false;
    visit.prefix = RecordPrefix();
    --in_memory_;
    return true;
}

}  // namespace dl2
