// Reading a record at fidelity k: one range of its file, checked, and the fragments as they lie
// there, for a decoder that takes pieces (record_jpegs.hpp gives whole JPEGs).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dl2/io/storage.hpp"
#include "dl2/record/record.hpp"

namespace dl2 {

// Memory for the bytes of records, lent again and again: taking 100 MB anew for each record would
// cost as much as filling it. Thread-safe.
class BufferPool {
  public:
    struct Buffer {
        std::unique_ptr<std::uint8_t, void (*)(void*)> data{nullptr, nullptr};
        std::size_t capacity = 0;
    };
    using Lease = std::shared_ptr<Buffer>;

    // Keeps at most `keep` buffers that nobody uses.
    explicit BufferPool(std::size_t keep = 2);

    // Returns a buffer of at least `size` bytes, whose content is anything. It comes back to the
    // pool when the last copy of the lease goes. Throws std::bad_alloc.
    Lease take(std::size_t size);

  private:
    struct Shelf;
    std::shared_ptr<Shelf> shelf_;
};

// What the index says of a record: where it is and how long its parts are.
struct RecordLocation {
    std::string name;
    std::vector<std::uint64_t> lengths;            // G + 1
    std::optional<std::uint32_t> metadata_crc32c;  // none in datasets of the PCR_Release converter
};

// A record at fidelity k: its first k scan groups.
struct RecordPrefix {
    BufferPool::Lease buffer;  // of the whole prefix
    std::uint64_t bytes_read = 0;
    Metadata metadata;
    std::size_t scans = 0;         // k
    std::vector<Bytes> fragments;  // group-major: of image i in group g at [g * images + i]
};

// Reads [0, end of group k) and no byte more. Every part is checked against its checksum (where the
// dataset has them) and against the index. Throws Error(io), or Error(data) naming the group; with
// `damage`, it gives the groups before the first damaged one instead, if there are any, and puts
// the reason into `damage`.
RecordPrefix read_prefix(const Storage& storage, const RecordLocation& location, std::size_t scans,
                         BufferPool& pool, std::string* damage = nullptr);

// Reads a record's metadata alone, checked in the same way.
Metadata read_metadata(const Storage& storage, const RecordLocation& location);

}  // namespace dl2
