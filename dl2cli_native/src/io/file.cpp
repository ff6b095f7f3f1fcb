#include "dl2/io/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "dl2/error.hpp"

namespace dl2 {
namespace {

constexpr std::size_t kWriteBuffer = 1 << 20;
constexpr std::size_t kMaxParts = 1024;  // that the system takes in one call

[[noreturn]] void fail(int code) {
    throw Error(ErrorKind::io, std::strerror(code), code);
}

// Makes a rename durable. Some file systems refuse to sync a folder; then there is nothing to do.
void sync_folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    const FileDescriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory.open() && ::fsync(directory.get()) != 0 && errno == EIO) fail(errno);
}

}  // namespace

FileDescriptor::~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
        if (fd_ >= 0) ::close(fd_);
        fd_ = other.fd_;
        other.fd_ = -1;
    }
    return *this;
}

FileDescriptor open_regular(const std::string& path) {
    constexpr int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    // Only a file's owner may leave its access time alone.
    FileDescriptor file(::open(path.c_str(), flags | O_NOATIME));
    if (!file.open() && errno == EPERM) file = FileDescriptor(::open(path.c_str(), flags));
    if (!file.open() && errno == ENXIO) throw Error(ErrorKind::data, "not a regular file");
    if (!file.open()) fail(errno);
    struct stat status;
    if (::fstat(file.get(), &status) != 0) fail(errno);
    if (!S_ISREG(status.st_mode)) throw Error(ErrorKind::data, "not a regular file");
    return file;
}

std::uint64_t file_size(const FileDescriptor& file) {
    struct stat status;
    if (::fstat(file.get(), &status) != 0) fail(errno);
    return static_cast<std::uint64_t>(status.st_size);
}

void read_file(const std::string& path, std::uint64_t max_bytes, std::vector<std::uint8_t>& out) {
    const FileDescriptor file = open_regular(path);
    const std::uint64_t size = file_size(file);
    if (size == 0) throw Error(ErrorKind::data, "the file is empty");
    if (size > max_bytes) {
        throw Error(ErrorKind::data, std::to_string(size) + " bytes, more than the limit of " +
                                         std::to_string(max_bytes));
    }
    out.resize(size);
    read_at(file, 0, out.data(), size);
}

void read_at(const FileDescriptor& file, std::uint64_t offset, std::uint8_t* out,
             std::size_t size) {
    while (size > 0) {
        const ssize_t got = ::pread(file.get(), out, size, static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail(errno);
        if (got == 0) {
            throw Error(ErrorKind::data, "the file ends at byte " + std::to_string(offset) + ", " +
                                             std::to_string(size) + " bytes too early");
        }
        out += got;
        offset += static_cast<std::uint64_t>(got);
        size -= static_cast<std::size_t>(got);
    }
}

void read_at(const FileDescriptor& file, std::uint64_t offset, const std::vector<Piece>& pieces) {
    std::vector<iovec> parts;
    for (const Piece& piece : pieces) parts.push_back({piece.data, piece.size});
    for (std::size_t done = 0; done < parts.size();) {
        const std::size_t end = std::min(parts.size(), done + kMaxParts);
        const ssize_t got = ::preadv(file.get(), parts.data() + done, static_cast<int>(end - done),
                                     static_cast<off_t>(offset));
        if (got < 0 && errno != EINTR) fail(errno);
        // What did not come at once, for whatever reason, is read piece by piece.
        std::size_t given = got < 0 ? 0 : static_cast<std::size_t>(got);
        for (; done < end; ++done) {
            const Piece& piece = pieces[done];
            const std::size_t here = std::min(given, piece.size);
            if (here < piece.size) {
                read_at(file, offset + here, piece.data + here, piece.size - here);
            }
            given -= here;
            offset += piece.size;
        }
    }
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)), temporary_(path_ + ".tmp") {
    file_ = FileDescriptor(
        ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666));
    if (!file_.open()) fail(errno);
    buffer_.reserve(kWriteBuffer);
}

AtomicFile::~AtomicFile() {
    if (!temporary_.empty() && file_.open()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, std::size_t size) {
    const auto* at = static_cast<const std::uint8_t*>(data);
    while (size > 0) {
        const std::size_t part = std::min(size, kWriteBuffer - buffer_.size());
        buffer_.insert(buffer_.end(), at, at + part);
        at += part;
        size -= part;
        if (buffer_.size() == kWriteBuffer) flush();
    }
}

void AtomicFile::flush() {
    const std::uint8_t* at = buffer_.data();
    std::size_t left = buffer_.size();
    while (left > 0) {
        const ssize_t put = ::write(file_.get(), at, left);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) fail(errno);
        at += put;
        left -= static_cast<std::size_t>(put);
    }
    buffer_.clear();
}

void AtomicFile::commit() {
    flush();
    if (::fsync(file_.get()) != 0) fail(errno);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(errno);
    temporary_.clear();
    sync_folder_of(path_);
}

}  // namespace dl2
