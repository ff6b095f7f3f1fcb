// The native core's one exception type. It carries the reason; whoever knows the file adds its
// name.
#pragma once

#include <cerrno>
#include <stdexcept>
#include <string>

namespace dl2 {

enum class ErrorKind {
    data,         // the bytes are damaged, or not what they claim to be
    io,           // the operating system refused; `Error::code` is its errno
    argument,     // the caller asked for something impossible
    unsupported,  // a valid JPEG that libjpeg cannot transcode (12-bit, lossless)
    cancelled,    // the caller asked to stop
};

// Whether an errno is the file's own fault: it does not exist, it is not a file, or this user may
// not read it. Every other code means that a disk, a share or a machine failed, and says nothing
// about the file: the work stops, and nothing is rejected. dl2cli/errors.py has the same list.
inline bool is_file_fault(int code) {
    switch (code) {
        case ENOENT:
        case ENOTDIR:
        case EISDIR:
        case EACCES:
        case EPERM:
        case ELOOP:
        case ENAMETOOLONG:
            return true;
        default:
            return false;
    }
}

class Error : public std::runtime_error {
  public:
    Error(ErrorKind kind, const std::string& reason, int code = 0)
        : std::runtime_error(reason), kind_(kind), code_(code) {}

    ErrorKind kind() const { return kind_; }
    int code() const { return code_; }

    // Whether the fault lies in what was read, so that a file may be rejected for it.
    bool is_file_fault() const {
        if (kind_ == ErrorKind::io) return dl2::is_file_fault(code_);
        return kind_ == ErrorKind::data || kind_ == ErrorKind::unsupported;
    }

  private:
    ErrorKind kind_;
    int code_;
};

}  // namespace dl2
