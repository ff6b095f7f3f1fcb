#include "dl2/loader/store.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "dl2/error.hpp"

namespace dl2 {

RecordStore::RecordStore(std::shared_ptr<const Storage> storage,
                         std::vector<RecordLocation> records, std::int64_t label_count,
                         std::size_t keep_buffers, std::shared_ptr<Throttle> throttle)
    : SampleStore(std::move(storage), label_count, std::move(throttle)),
      records_(std::move(records)),
      pool_(keep_buffers) {}

std::size_t RecordStore::groups(std::uint32_t unit, std::size_t scans) const {
    return std::min(scans, records_[unit].lengths.size() - 1);
}

std::string RecordStore::unit_name(std::uint32_t unit) const {
    return "record " + records_[unit].name;
}

std::string RecordStore::image_name(std::uint32_t unit, std::uint32_t slot) const {
    return unit_name(unit) + ", image " + std::to_string(slot);
}

RecordPrefix RecordStore::read(const Storage& storage, std::uint32_t unit, std::size_t scans,
                               std::string* damage) const {
    return read_prefix(storage, records_[unit], groups(unit, scans), pool_, damage);
}

FileStore::FileStore(std::string folder, std::vector<std::string> names,
                     std::vector<std::int32_t> labels, std::int64_t label_count,
                     std::uint64_t max_file_bytes, std::shared_ptr<Throttle> throttle)
    : SampleStore(std::make_shared<LocalStorage>(std::move(folder)), label_count,
                  std::move(throttle)),
      names_(std::move(names)),
      labels_(std::move(labels)),
      max_file_bytes_(max_file_bytes) {
    if (names_.size() != labels_.size()) {
        throw Error(ErrorKind::argument, "as many labels as files are needed");
    }
}

RecordPrefix FileStore::read(const Storage& storage, std::uint32_t unit, std::size_t,
                             std::string*) const {
    const StoredObject file = storage.open_whole(names_[unit]);
    if (file.size == 0) throw Error(ErrorKind::data, "the file is empty");
    if (file.size > max_file_bytes_) {
        throw Error(ErrorKind::data, std::to_string(file.size) + " bytes, more than the limit of " +
                                         std::to_string(max_file_bytes_));
    }
    // Files are small and differ in size: malloc handles them better than a pool of buffers.
    auto buffer = std::make_shared<BufferPool::Buffer>();
    buffer->data = {static_cast<std::uint8_t*>(std::malloc(file.size)), std::free};
    if (buffer->data == nullptr) throw std::bad_alloc();
    buffer->capacity = file.size;
    file.range->read(buffer->data.get(), file.size);
    RecordPrefix prefix;
    prefix.bytes_read = file.size;
    prefix.metadata.labels = {labels_[unit]};
    prefix.scans = 1;
    prefix.fragments = {Bytes(buffer->data.get(), file.size)};
    prefix.buffer = std::move(buffer);
    return prefix;
}

}  // namespace dl2
