// The bytes seam: (name, offset, length) in, bytes out. A local folder stands behind it, or what
// Python reads from an object store (bindings_storage.cpp).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dl2/io/file.hpp"

namespace dl2 {

// A range of a named object, read from front to back.
class RangeReader {
  public:
    virtual ~RangeReader() = default;
    // Throws Error(io), or Error(data) if the object ends before `size` more bytes.
    virtual void read(std::uint8_t* out, std::size_t size) = 0;
    // Reads on into several pieces of memory, one after the other. Throws as the method above.
    virtual void read(const std::vector<Piece>& pieces) = 0;
};

std::uint64_t total_bytes(const std::vector<Piece>& pieces);

// A whole object, and how long it is.
struct StoredObject {
    std::unique_ptr<RangeReader> range;
    std::uint64_t size = 0;
};

class Storage {
  public:
    virtual ~Storage() = default;
    // Both throw Error(io), and Error(data) for what is no regular file or too short.
    virtual StoredObject open_whole(const std::string& name) const = 0;
    virtual std::unique_ptr<RangeReader> open(const std::string& name, std::uint64_t offset,
                                              std::uint64_t length) const = 0;

    // How often a range is worth reading again whose bytes prove wrong: 0 where they would be the
    // same, more where they come through a network.
    virtual unsigned rereads() const { return 0; }

    // Ends the reads that are under way, if they may take long: each throws. Later ones are read.
    virtual void cancel() const {}
};

class LocalStorage : public Storage {
  public:
    explicit LocalStorage(std::string folder) : folder_(std::move(folder)) {}
    StoredObject open_whole(const std::string& name) const override;
    std::unique_ptr<RangeReader> open(const std::string& name, std::uint64_t offset,
                                      std::uint64_t length) const override;

  private:
    std::string folder_;
};

}  // namespace dl2
