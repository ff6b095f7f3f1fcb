// The visits of an epoch, in their order: which are still to be made, which units are in memory,
// and when the memory of one is free again. Not thread-safe: the loader holds its mutex.
#pragma once

#include <exception>
#include <string>
#include <vector>

#include "dl2/loader/batch_loader.hpp"

namespace dl2 {

// One reading of a unit. Written by a fetching thread before `done`, read only after it.
struct Visit {
    std::uint32_t unit = 0;
    std::size_t uses = 0;  // samples of the plan that are not decoded yet
    bool done = false;
    bool charged = false;  // a batch accounts for its bytes
    RecordPrefix prefix;
    std::string damage;  // of the groups that are missing from the prefix
    std::exception_ptr error;
};

class Readahead {
  public:
    // Throws Error(argument) if some sample would have to wait for a unit for which there never is
    // room, or the plan names a unit that is not there.
    Readahead(const EpochPlan& plan, std::size_t units, std::size_t max_visits);

    bool finished() const { return next_ == visits_.size(); }
    bool has_room() const { return in_memory_ < max_visits_; }

    // Begins the next visit that somebody needs; null if there is none.
    Visit* begin();

    Visit& operator[](std::uint32_t visit) { return visits_[visit]; }

    // One sample of a visit is done with; returns whether that made room for another visit.
    bool release(Visit& visit);

    // Units that are being read, or are read and still of use.
    std::size_t in_memory() const { return in_memory_; }

  private:
    std::vector<Visit> visits_;
    std::size_t max_visits_;
    std::size_t next_ = 0;
    std::size_t in_memory_ = 0;
};

}  // namespace dl2
