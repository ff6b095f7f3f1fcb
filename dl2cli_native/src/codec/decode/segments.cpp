#include "codec/decode/segments.hpp"

#include <cstring>

namespace dl2::codec {
namespace {

constexpr std::uint8_t kRst0 = 0xD0;

}  // namespace

Declined Segments::next(BitSource& source) {
    if (at_ == data_.size && number_ > 0) return "restart markers that are missing";
    std::size_t used = 0;
    at_ += kernels_.unstuff(data_.data + at_, data_.size - at_, buffer_, &used);
    std::memset(buffer_ + used, 0, kPadding);
    source = {buffer_, used};
    if (at_ == data_.size) {
        ++number_;
        return nullptr;
    }
    // `parse` has seen to it that a restart marker is all that can be here.
    if (!restarts_) return "restart markers without an interval";
    if (data_[at_ + 1] != kRst0 + (number_ & 7)) return "restart markers out of order";
    ++number_;
    at_ += 2;
    return nullptr;
}

BitState start(const BitSource& source) {
    // Eight bytes on, more bits than there are have been taken.
    return {0, 0, source.begin, source.begin + source.size + 8};
}

Declined check_taken(const BitState& bits, const BitSource& source, bool to_the_end) {
    const std::size_t taken = 8 * static_cast<std::size_t>(bits.at - source.begin) - bits.count;
    if (taken > 8 * source.size) return "a scan that ends early";
    if (to_the_end && taken + 8 <= 8 * source.size) return "bytes behind the end of a scan";
    return nullptr;
}

}  // namespace dl2::codec
