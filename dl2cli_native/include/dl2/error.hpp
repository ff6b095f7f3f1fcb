// The native core's one exception type. It carries the reason; whoever knows the file adds it.
#pragma once

#include <stdexcept>
#include <string>

namespace dl2 {

enum class ErrorKind {
    data,         // the bytes are damaged, or not what they claim to be
    io,           // the operating system refused; `Error::code` is its errno
    argument,     // the caller asked for something that cannot be
    unsupported,  // a valid JPEG that libjpeg cannot transcode (12-bit, lossless)
    cancelled,    // the caller asked to stop
};

class Error : public std::runtime_error {
  public:
    Error(ErrorKind kind, const std::string& reason, int code = 0)
        : std::runtime_error(reason), kind_(kind), code_(code) {}

    ErrorKind kind() const { return kind_; }
    int code() const { return code_; }

  private:
    ErrorKind kind_;
    int code_;
};

}  // namespace dl2
