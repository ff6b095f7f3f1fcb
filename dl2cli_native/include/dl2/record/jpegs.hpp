// A record at fidelity k as whole JPEGs, each in one piece.
#pragma once

#include <cstdint>
#include <vector>

#include "dl2/record/reader.hpp"

namespace dl2 {

// Image i is [offset[i], offset[i + 1]) of the buffer, end marker included.
struct RecordJpegs {
    BufferPool::Lease buffer;
    std::vector<std::uint64_t> offsets;  // n + 1
    Metadata metadata;
    std::uint64_t bytes_read = 0;
};

// Reads the metadata, and then the k groups once, front to back: the system puts each fragment in
// its place in its image, and it is checked there while it is in the processor's cache. Records of
// the PCR_Release converter do not say where that is; they are read whole first. Throws as
// `read_prefix`.
RecordJpegs read_jpegs(const Storage& storage, const RecordLocation& location, std::size_t scans,
                       BufferPool& pool);

}  // namespace dl2
