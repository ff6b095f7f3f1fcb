// The restart intervals of a scan, one after the other, without their stuffing.
#pragma once

#include "codec/kernels/kernels.hpp"
#include "codec/markers.hpp"

namespace dl2::codec {

class Segments {
  public:
    // `buffer` has room for all of the scan's bytes and kPadding more.
    Segments(const ScanHeader& scan, const EntropyKernels& kernels, std::uint8_t* buffer)
        : data_(scan.data),
          restarts_(scan.restart_interval != 0),
          kernels_(kernels),
          buffer_(buffer) {}

    // Unstuffs the next interval into the buffer. Declines restart markers that are out of order,
    // and any restart marker of a scan that should have none.
    Declined next(BitSource& source);

    bool at_end() const { return at_ == data_.size; }

  private:
    Bytes data_;
    bool restarts_;
    const EntropyKernels& kernels_;
    std::uint8_t* buffer_;
    std::size_t at_ = 0;
    unsigned number_ = 0;  // of the restart marker that comes next
};

// Where a decoder starts, for the first bit of each byte highest.
BitState start(const BitSource& source);

// Whether a decoder took what there was: not more, and, where it read to the end, not less than all
// but the bits that fill up the last byte.
Declined check_taken(const BitState& bits, const BitSource& source, bool to_the_end);

}  // namespace dl2::codec
