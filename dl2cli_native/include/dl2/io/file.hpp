// Files: reading whole ones and parts of them, writing new ones so that a crash leaves none or all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dl2/io/bytes.hpp"

namespace dl2 {

// A file descriptor that closes itself.
class FileDescriptor {
  public:
    explicit FileDescriptor(int fd = -1) : fd_(fd) {}
    ~FileDescriptor();
    FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
    FileDescriptor& operator=(FileDescriptor&& other) noexcept;
    FileDescriptor(const FileDescriptor&) = delete;
    FileDescriptor& operator=(const FileDescriptor&) = delete;

    int get() const { return fd_; }
    bool open() const { return fd_ >= 0; }

  private:
    int fd_;
};

// Opens a regular file for reading; never blocks on a FIFO. Throws Error(io).
FileDescriptor open_regular(const std::string& path);

// Throws Error(io).
std::uint64_t file_size(const FileDescriptor& file);

// Reads a source file without changing its access time where the system allows that. Throws
// Error(io), and Error(data) for an empty file or one of more than `max_bytes`.
void read_file(const std::string& path, std::uint64_t max_bytes, std::vector<std::uint8_t>& out);

// Reads exactly `size` bytes at `offset`. Throws Error(io), or Error(data) if the file is shorter.
void read_at(const FileDescriptor& file, std::uint64_t offset, std::uint8_t* out, std::size_t size);

// Memory that is filled.
struct Piece {
    std::uint8_t* data;
    std::size_t size;
};

// Fills all pieces, one after the other, with the bytes from `offset` on. Throws as the function
// above.
void read_at(const FileDescriptor& file, std::uint64_t offset, const std::vector<Piece>& pieces);

// A new file under a temporary name; `commit` makes it durable and gives it its name, in that
// order. Without it the destructor removes the temporary file. Throws Error(io).
class AtomicFile {
  public:
    explicit AtomicFile(std::string path);
    ~AtomicFile();
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    void write(const void* data, std::size_t size);
    void commit();

  private:
    void flush();

    std::string path_;
    std::string temporary_;
    FileDescriptor file_;
    std::vector<std::uint8_t> buffer_;
};

}  // namespace dl2
