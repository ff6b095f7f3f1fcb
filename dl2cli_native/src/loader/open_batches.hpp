// The batches that have memory and are not taken yet, and the images that go into them, in the
// order of the plan. Not thread-safe: the loader holds its mutex.
#pragma once

#include <deque>
#include <exception>
#include <string>
#include <vector>

#include "dl2/loader/batch_loader.hpp"
#include "loader/readahead.hpp"

namespace dl2 {

struct OpenBatch {
    std::uint8_t* images = nullptr;
    std::int64_t* labels = nullptr;
    std::size_t left = 0;  // images that are not done
    std::vector<bool> kept;
    BatchResult result;
    std::exception_ptr error;
    std::size_t error_place = 0;  // of the image that `error` is about: the first one's counts
};

// One image, and where it goes.
struct DecodeTask {
    Visit* visit = nullptr;
    const PlannedSample* planned = nullptr;
    std::size_t batch = 0;
    std::size_t place = 0;
    bool charge = false;  // its batch accounts for the bytes of its unit
    std::uint8_t* out = nullptr;
    std::int64_t* label = nullptr;
};

// What became of a task.
struct DecodeOutcome {
    bool kept = false;
    bool degraded = false;
    bool foreign = false;  // nothing yet: the caller decodes it
    std::string damage;
    std::exception_ptr error;
};

class OpenBatches {
  public:
    // `image_bytes` is what an image takes in the memory of a batch.
    OpenBatches(const EpochPlan& plan, std::size_t image_bytes)
        : plan_(plan), image_bytes_(image_bytes) {}

    std::size_t batches() const;  // of the plan

    // Throws Error(argument) if there are no more batches.
    void give(std::uint8_t* images, std::int64_t* labels);

    bool has_task() const;
    DecodeTask next_task(Readahead& visits);

    // Returns whether that was the last image of its batch.
    bool finish(const DecodeTask& task, DecodeOutcome outcome);

    bool front_done() const { return !open_.empty() && open_.front().left == 0; }
    std::size_t done() const;  // batches that wait to be taken

    // Removes the first batch. Throws Error(argument) if it is not done.
    OpenBatch take();

    // Moves the images of a batch that are kept to the front of its memory.
    BatchResult compact(OpenBatch& batch) const;

  private:
    const EpochPlan& plan_;
    const std::size_t image_bytes_;
    std::deque<OpenBatch> open_;
    std::size_t first_ = 0;  // the number of the first open batch
    std::size_t next_sample_ = 0;
};

}  // namespace dl2
