// CRC32C (Castagnoli), the checksum of every part of a record. Source: RFC 3720, appendix B.4.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dl2 {

// Extends `crc` (0 for a new checksum) by `size` bytes. Uses the processor's instruction where
// there is one, a table otherwise; both give the same value.
std::uint32_t crc32c(const void* data, std::size_t size, std::uint32_t crc = 0);

// The table version on its own, so that tests can compare the two.
std::uint32_t crc32c_portable(const void* data, std::size_t size, std::uint32_t crc = 0);

}  // namespace dl2
