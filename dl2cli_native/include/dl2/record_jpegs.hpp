// A record at fidelity k as whole JPEGs, each in one piece.
#pragma once

#include <cstdint>
#include <vector>

#include "dl2/record_reader.hpp"

namespace dl2 {

// Image i is [offset[i], offset[i + 1]) of the buffer, end marker included.
struct RecordJpegs {
    BufferPool::Lease buffer;
    std::vector<std::uint64_t> offsets;  // n + 1
    Metadata metadata;
    std::uint64_t bytes_read = 0;
};

// Reads the metadata, and then the k groups once, front to back: each piece goes from a buffer in
// the processor's cache, where it was checked, to its place in its image. Records of the published
// converter do not say where that is; they are read whole first. Throws as `read_prefix`.
RecordJpegs read_jpegs(const Storage& storage, const RecordLocation& location, std::size_t groups,
                       BufferPool& pool);

}  // namespace dl2
