#include "dl2/record/record_reader.hpp"

namespace dl2 {

RecordReader::RecordReader(std::shared_ptr<const Storage> storage, std::size_t keep_buffers,
                           std::shared_ptr<Throttle> throttle)
    : storage_(std::move(storage)), pool_(keep_buffers) {
    if (throttle != nullptr) {
        throttled_.emplace(*storage_, std::move(throttle), throttle_released_);
    }
}

RecordJpegs RecordReader::read(const RecordLocation& location, std::size_t scans) {
    return read_jpegs(storage(), location, scans, pool_);
}

std::vector<std::int32_t> RecordReader::read_labels(const RecordLocation& location) {
    return read_metadata(storage(), location).labels;
}

std::vector<std::uint8_t> RecordReader::read_orientations(const RecordLocation& location) {
    return read_metadata(storage(), location).orientations;
}

const Storage& RecordReader::storage() const {
    if (throttled_) return *throttled_;
    return *storage_;
}

}  // namespace dl2
