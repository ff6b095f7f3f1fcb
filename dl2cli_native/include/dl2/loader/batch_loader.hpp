// The loader: threads that read records or files ahead, and threads that decode, crop and resize
// their images straight into the memory of batches.
//
// Memory: at most `max_visits` record prefixes or files; for each decoding thread one image's
// coefficients and the bit masks of its refinement scans (3 bytes a coefficient: 9 bytes a pixel at
// 4:4:4, 4.5 at 4:2:0) and, for its resize, 4 bytes x rows of the crop x size; the batches that the
// caller gave.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dl2/error.hpp"
#include "dl2/loader/options.hpp"
#include "dl2/loader/store.hpp"

namespace dl2 {

struct PlannedSample {
    std::uint32_t visit = 0;   // which of the plan's visits
    std::uint32_t slot = 0;    // the image in the unit
    std::uint64_t sample = 0;  // what its crop depends on
};

// What to load, in order. A visit is one reading of a unit, made in the order of the list.
struct EpochPlan {
    std::vector<std::uint32_t> visits;  // the unit of each: a record or a file
    std::vector<PlannedSample> samples;
    std::size_t batch_size = 1;
};

struct BatchResult {
    std::vector<std::uint32_t> kept;  // places in the batch of the images that are in it
    std::uint64_t bytes_read = 0;     // of the units that this batch was the first to need
    std::uint64_t degraded = 0;       // images with fewer groups than asked for
    std::vector<std::string> damage;  // what was wrong, a sentence each
};

// Seconds are sums over threads. Totals since the start.
struct LoaderStatistics {
    std::uint64_t units = 0;  // records or files read
    std::uint64_t bytes_read = 0;
    std::uint64_t images = 0;
    double fetch_s = 0;       // reading and checking units
    double decode_s = 0;      // decoding, resizing, writing
    double fetch_wait_s = 0;  // decoders waiting for units
    std::size_t ready_batches = 0;
    std::size_t units_in_memory = 0;
};

// An image of a format that the codec does not decode (PNG, a 12-bit JPEG): the caller does it.
struct ForeignImage {
    std::uint64_t ticket = 0;  // for `put_foreign` or `reject_foreign`
    std::string name;
    Bytes bytes;  // the whole file; valid until then
};

// Pixels of a foreign image: RGBX, 4 bytes a pixel, row after row.
struct ForeignPixels {
    const std::uint8_t* rgbx = nullptr;
    std::uint32_t width = 0;
    std::uint32_t height = 0;
    double decode_s = 0;  // what it took the caller
};

class BatchLoader {
  public:
    // Throws Error(argument) for a plan that cannot be done with `max_visits` in memory.
    BatchLoader(std::shared_ptr<const SampleStore> store, EpochPlan plan,
                const LoaderOptions& options);
    ~BatchLoader();  // stops and joins the threads
    BatchLoader(const BatchLoader&) = delete;
    BatchLoader& operator=(const BatchLoader&) = delete;

    std::size_t batches() const;

    // Lends the memory of the next batch: its images, in the output format, and its labels. Work on
    // a batch begins when it has memory: this is the prefetch depth. The memory must stay until the
    // batch is taken or the loader is gone.
    void give(std::uint8_t* images, std::int64_t* labels);

    // Waits until the next batch is done; false after `milliseconds`, and at once where foreign
    // images wait for the caller.
    bool wait(std::uint32_t milliseconds);

    // Takes the next batch, which must be done. Throws what went wrong with it: Error, naming
    // record, image and group, or the file.
    BatchResult take();

    // Takes the images that the caller has to decode; their batches wait for them. Only stores of
    // whole files have any. The caller finishes each, in any thread.
    std::vector<ForeignImage> take_foreign();

    // Crops and resizes a foreign image in the calling thread.
    void put_foreign(std::uint64_t ticket, const ForeignPixels& pixels);

    // Says why a foreign image cannot be decoded. The damage policy decides what happens then.
    void reject_foreign(std::uint64_t ticket, const std::string& reason);

    LoaderStatistics statistics() const;

  private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace dl2
