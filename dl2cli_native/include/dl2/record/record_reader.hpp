// The records of a dataset, for one reader at a time or many: a storage, a pool of buffers, and a
// throttle if one is wanted.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "dl2/io/storage.hpp"
#include "dl2/io/throttle.hpp"
#include "dl2/record/jpegs.hpp"

namespace dl2 {

// Thread-safe.
class RecordReader {
  public:
    // Keeps at most `keep_buffers` buffers that nobody uses. `throttle` may be null.
    RecordReader(std::shared_ptr<const Storage> storage, std::size_t keep_buffers,
                 std::shared_ptr<Throttle> throttle);

    // Reads a record at fidelity `scans` as whole JPEGs. Throws as `read_jpegs`.
    RecordJpegs read(const RecordLocation& location, std::size_t scans);

    // Reads a record's metadata alone, and returns the label of each image. Throws as `read`.
    std::vector<std::int32_t> read_labels(const RecordLocation& location);

    // Reads a record's metadata alone, and returns the EXIF orientation of each image; none are
    // known in datasets of the PCR_Release converter. Throws as `read`.
    std::vector<std::uint8_t> read_orientations(const RecordLocation& location);

    // From now on nobody waits for the throttle, in reads that go on or begin.
    void release_throttle() { throttle_released_ = true; }

  private:
    const Storage& storage() const;

    std::shared_ptr<const Storage> storage_;
    BufferPool pool_;
    std::atomic<bool> throttle_released_{false};
    std::optional<ThrottledStorage> throttled_;
};

}  // namespace dl2
