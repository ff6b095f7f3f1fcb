#include "dl2/record/reader.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>

#include "dl2/error.hpp"
#include "dl2/io/crc32c.hpp"

namespace dl2 {
namespace {

// Small enough that the checksum finds the bytes still in the second-level cache.
constexpr std::size_t kReadChunk = 256 << 10;
constexpr std::size_t kHugePage = 2 << 20;
constexpr std::uint64_t kMaxPartBytes = 1ull << 48;  // so that no sum of lengths overflows

// Reads one part of the record and returns its checksum.
std::uint32_t read_part(RangeReader& range, std::uint8_t* out, std::uint64_t size) {
    std::uint32_t crc = 0;
    while (size > 0) {
        const std::size_t chunk = std::min<std::uint64_t>(size, kReadChunk);
        range.read(out, chunk);
        crc = crc32c(out, chunk, crc);
        out += chunk;
        size -= chunk;
    }
    return crc;
}

[[noreturn]] void damaged(const std::string& part, const std::string& reason) {
    throw Error(ErrorKind::data, part + ": " + reason);
}

std::string group_name(std::size_t group) {
    return "scan group " + std::to_string(group + 1);
}

// Reads the metadata at the start of `range` into `out`, and checks it against the index.
Metadata take_metadata(RangeReader& range, const RecordLocation& location, std::uint8_t* out) {
    const std::vector<std::uint64_t>& lengths = location.lengths;
    const std::uint32_t crc = read_part(range, out, lengths[0]);
    if (location.metadata_crc32c && crc != *location.metadata_crc32c) {
        damaged("metadata", "wrong checksum: damaged, or the record of another dataset");
    }
    Metadata metadata;
    try {
        metadata = parse_metadata(Bytes(out, lengths[0]));
    } catch (const Error& error) {
        damaged("metadata", error.what());
    }
    if (metadata.groups != lengths.size() - 1) {
        damaged("metadata", std::to_string(metadata.groups) + " scan groups, the index says " +
                                std::to_string(lengths.size() - 1));
    }
    for (std::size_t group = 0; group < metadata.group_bytes.size(); ++group) {
        if (metadata.group_bytes[group] != lengths[group + 1]) {
            damaged(group_name(group), "its length is not the one in the index");
        }
    }
    return metadata;
}

}  // namespace

struct BufferPool::Shelf {
    explicit Shelf(std::size_t keep_) : keep(keep_) {}
    std::size_t keep;
    std::mutex mutex;
    std::vector<Buffer> unused;
};

BufferPool::BufferPool(std::size_t keep) : shelf_(std::make_shared<Shelf>(keep)) {}

BufferPool::Lease BufferPool::take(std::size_t size) {
    Buffer buffer;
    {
        const std::lock_guard<std::mutex> lock(shelf_->mutex);
        auto& unused = shelf_->unused;
        const auto fits = [size](const Buffer& each) { return each.capacity >= size; };
        auto found = std::find_if(unused.begin(), unused.end(), fits);
        if (found == unused.end() && unused.size() >= shelf_->keep) found = unused.begin();
        if (found != unused.end()) {
            buffer = std::move(*found);
            unused.erase(found);
        }
    }
    if (buffer.capacity < size) {
        buffer.data.reset();
        buffer.capacity = (size + kHugePage - 1) / kHugePage * kHugePage;
        buffer.data = {static_cast<std::uint8_t*>(std::aligned_alloc(kHugePage, buffer.capacity)),
                       std::free};
        if (buffer.data == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
        ::madvise(buffer.data.get(), buffer.capacity, MADV_HUGEPAGE);
#endif
    }
    auto give_back = [shelf = shelf_](Buffer* lent) {
        {
            const std::lock_guard<std::mutex> lock(shelf->mutex);
            if (shelf->unused.size() < shelf->keep) shelf->unused.push_back(std::move(*lent));
        }
        delete lent;
    };
    return Lease(new Buffer(std::move(buffer)), give_back);
}

namespace {

// Opens the first `scans` groups of a record, or with `damage` as many as its file still holds.
std::unique_ptr<RangeReader> open_prefix(const Storage& storage, const RecordLocation& location,
                                         std::size_t& scans, std::uint64_t& bytes,
                                         std::string* damage) {
    for (;; --scans) {
        bytes = 0;
        for (std::size_t part = 0; part <= scans; ++part) {
            if (location.lengths[part] > kMaxPartBytes) damaged("index", "a length out of range");
            bytes += location.lengths[part];
        }
        try {
            return storage.open(location.name, 0, bytes);
        } catch (const Error& error) {
            if (damage == nullptr || scans == 1 || error.kind() != ErrorKind::data) throw;
            *damage = group_name(scans - 1) + ": " + error.what();
        }
    }
}

// Reads the next group of a record to `at`, and adds its fragments to the prefix.
void take_group(RangeReader& range, std::size_t group, std::uint64_t size, std::uint8_t* at,
                RecordPrefix& prefix) {
    const Metadata& metadata = prefix.metadata;
    const std::size_t images = metadata.labels.size();
    // An empty fragment takes two bytes: more images than that are a lie of the metadata.
    if (images > size / 2) damaged(group_name(group), "too short for its images");
    const std::uint32_t crc = read_part(range, at, size);
    if (metadata.format_version != 0 && crc != metadata.group_crc32c[group]) {
        damaged(group_name(group), "wrong checksum");
    }
    try {
        parse_scan_group(Bytes(at, size), images, prefix.fragments);
    } catch (const Error& error) {
        damaged(group_name(group), error.what());
    }
}

RecordPrefix read_prefix_once(const Storage& storage, const RecordLocation& location,
                              std::size_t scans, BufferPool& pool, std::string* damage) {
    const std::vector<std::uint64_t>& lengths = location.lengths;
    RecordPrefix prefix;
    const auto range = open_prefix(storage, location, scans, prefix.bytes_read, damage);
    prefix.buffer = pool.take(prefix.bytes_read);
    std::uint8_t* at = prefix.buffer->data.get();
    prefix.metadata = take_metadata(*range, location, at);
    at += lengths[0];
    for (; prefix.scans < scans; ++prefix.scans) {
        const std::uint64_t size = lengths[prefix.scans + 1];
        try {
            take_group(*range, prefix.scans, size, at, prefix);
        } catch (const Error& error) {
            if (damage == nullptr || prefix.scans == 0 || error.kind() != ErrorKind::data) throw;
            *damage = error.what();
            prefix.fragments.resize(prefix.scans * prefix.metadata.labels.size());
            break;
        }
        if (prefix.scans == 0) prefix.fragments.reserve(scans * prefix.fragments.size());
        at += size;
    }
    return prefix;
}

// What a network has garbled may come whole the next time: damage is believed when the storage
// says that reading again is no use, or has been.
template <class Read>
auto read_again(const Storage& storage, const Read& read) {
    for (unsigned left = storage.rereads(); left > 0; --left) {
        try {
            return read(false);
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::data) throw;
        }
    }
    return read(true);
}

}  // namespace

RecordPrefix read_prefix(const Storage& storage, const RecordLocation& location, std::size_t scans,
                         BufferPool& pool, std::string* damage) {
    if (scans == 0 || scans >= location.lengths.size()) {
        throw Error(ErrorKind::argument,
                    "fidelity " + std::to_string(scans) + " of a record with " +
                        std::to_string(location.lengths.size() - 1) + " scan groups");
    }
    return read_again(storage, [&](bool last) {
        return read_prefix_once(storage, location, scans, pool, last ? damage : nullptr);
    });
}

Metadata read_metadata(const Storage& storage, const RecordLocation& location) {
    if (location.lengths.empty() || location.lengths[0] > kMaxPartBytes) {
        damaged("index", "a length out of range");
    }
    return read_again(storage, [&](bool) {
        const auto range = storage.open(location.name, 0, location.lengths[0]);
        std::vector<std::uint8_t> bytes(location.lengths[0]);
        return take_metadata(*range, location, bytes.data());
    });
}

}  // namespace dl2
