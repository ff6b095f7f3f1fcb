// The loader: threads that read records ahead, and threads that decode, crop and resize their
// images straight into the memory of batches.
//
// Memory: at most `max_records` record prefixes; for each decoding thread one image's coefficients
// and the bit masks of its refinement scans (3 bytes a coefficient: 9 bytes a pixel at 4:4:4, 4.5
// at 4:2:0) and, for its resize, 4 bytes x rows of the crop x size; the batches that the caller
// gave.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dl2/io/throttle.hpp"
#include "dl2/loader/augment.hpp"
#include "dl2/record/reader.hpp"

namespace dl2 {

enum class DamagePolicy : std::uint8_t {
    fail,     // the batch throws
    degrade,  // the groups before the damaged one are used; without any the image is skipped
    skip,     // the image is left out of its batch
};

enum class Layout : std::uint8_t { nchw, nhwc };

// How pixels are written: bytes, or (value / 255 - mean) / std in single precision.
struct OutputFormat {
    bool normalized = false;
    Layout layout = Layout::nchw;
    float mean[3] = {0, 0, 0};
    float std[3] = {1, 1, 1};

    std::size_t image_bytes(std::uint32_t size) const {
        return std::size_t{3} * size * size * (normalized ? sizeof(float) : 1);
    }
};

struct LoaderOptions {
    unsigned decode_threads = 1;
    unsigned fetch_threads = 1;
    std::size_t groups = 1;       // k; records with fewer groups give all they have
    std::size_t max_records = 2;  // prefixes in memory at a time
    DamagePolicy on_damage = DamagePolicy::fail;
    bool smoothing = false;
    TransformOptions transform;
    OutputFormat output;
    Limits limits;
    std::uint64_t seed = 0;
    std::uint64_t epoch = 0;
};

// The records of a dataset, for as many loaders as there are epochs.
struct RecordStore {
    RecordStore(std::string folder, std::vector<RecordLocation> records_, std::size_t keep_buffers,
                std::shared_ptr<Throttle> throttle_ = nullptr)
        : storage(std::move(folder)),
          records(std::move(records_)),
          throttle(std::move(throttle_)),
          pool(keep_buffers) {}

    LocalStorage storage;
    std::vector<RecordLocation> records;
    std::shared_ptr<Throttle> throttle;  // none: as fast as the storage is
    mutable BufferPool pool;
};

struct PlannedSample {
    std::uint32_t visit = 0;   // which of the plan's visits
    std::uint32_t slot = 0;    // the image in the record
    std::uint64_t sample = 0;  // what its crop depends on
};

// What to load, in order. A visit is one reading of a record, made in the order of the list.
struct EpochPlan {
    std::vector<std::uint32_t> visits;  // the record of each
    std::vector<PlannedSample> samples;
    std::size_t batch_size = 1;
};

struct BatchResult {
    std::vector<std::uint32_t> kept;  // places in the batch of the images that are in it
    std::uint64_t bytes_read = 0;     // of the records that this batch was the first to need
    std::uint64_t degraded = 0;       // images with fewer groups than asked for
    std::vector<std::string> damage;  // what was wrong, a sentence each
};

// Seconds are sums over threads. Totals since the start.
struct LoaderStatistics {
    std::uint64_t records = 0;
    std::uint64_t bytes_read = 0;
    std::uint64_t images = 0;
    double fetch_s = 0;        // reading and checking records
    double decode_s = 0;       // decoding, resizing, writing
    double record_wait_s = 0;  // decoders waiting for records
    std::size_t ready_batches = 0;
    std::size_t ready_records = 0;
};

class BatchLoader {
  public:
    // Throws Error(argument) for a plan that cannot be done with `max_records` in memory.
    BatchLoader(std::shared_ptr<const RecordStore> store, EpochPlan plan,
                const LoaderOptions& options);
    ~BatchLoader();  // stops and joins the threads
    BatchLoader(const BatchLoader&) = delete;
    BatchLoader& operator=(const BatchLoader&) = delete;

    std::size_t batches() const;

    // Lends the memory of the next batch: its images, in the output format, and its labels. Work on
    // a batch begins when it has memory: this is the prefetch depth. The memory must stay until the
    // batch is taken or the loader is gone.
    void give(std::uint8_t* images, std::int64_t* labels);

    // Waits until the next batch is done; false after `milliseconds`.
    bool wait(std::uint32_t milliseconds);

    // Takes the next batch, which must be done. Throws what went wrong with it: Error, naming
    // record, image and group.
    BatchResult take();

    LoaderStatistics statistics() const;

  private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace dl2
