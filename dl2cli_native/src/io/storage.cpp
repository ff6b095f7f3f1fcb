#include "dl2/io/storage.hpp"

#include <fcntl.h>

#include "dl2/error.hpp"

namespace dl2 {
namespace {

class LocalRange : public RangeReader {
  public:
    LocalRange(FileDescriptor file, std::uint64_t offset, std::uint64_t length)
        : file_(std::move(file)), at_(offset), end_(offset + length) {}

    void read(std::uint8_t* out, std::size_t size) override {
        if (size > end_ - at_) throw Error(ErrorKind::argument, "a read past the asked-for range");
        read_at(file_, at_, out, size);
        at_ += size;
    }

    void read(const std::vector<Piece>& pieces) override {
        const std::uint64_t size = total_bytes(pieces);
        if (size > end_ - at_) throw Error(ErrorKind::argument, "a read past the asked-for range");
        read_at(file_, at_, pieces);
        at_ += size;
    }

  private:
    FileDescriptor file_;
    std::uint64_t at_;
    std::uint64_t end_;
};

}  // namespace

std::uint64_t total_bytes(const std::vector<Piece>& pieces) {
    std::uint64_t total = 0;
    for (const Piece& piece : pieces) total += piece.size;
    return total;
}

StoredObject LocalStorage::open_whole(const std::string& name) const {
    FileDescriptor file = open_regular(folder_ + "/" + name);
    const std::uint64_t size = file_size(file);
    return {std::make_unique<LocalRange>(std::move(file), 0, size), size};
}

std::unique_ptr<RangeReader> LocalStorage::open(const std::string& name, std::uint64_t offset,
                                                std::uint64_t length) const {
    FileDescriptor file = open_regular(folder_ + "/" + name);
    // An index may lie, so check before anybody takes memory for bytes that do not exist.
    const std::uint64_t size = file_size(file);
    if (offset > size || length > size - offset) {
        throw Error(ErrorKind::data, "the file has " + std::to_string(size) +
                                         " bytes, too few for " + std::to_string(length) + " at " +
                                         std::to_string(offset));
    }
    // The kernel reads the range ahead of us, and nothing beyond it.
    ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_RANDOM);
    ::posix_fadvise(file.get(), static_cast<off_t>(offset), static_cast<off_t>(length),
                    POSIX_FADV_WILLNEED);
    return std::make_unique<LocalRange>(std::move(file), offset, length);
}

}  // namespace dl2
