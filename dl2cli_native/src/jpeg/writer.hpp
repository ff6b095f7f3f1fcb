// A libjpeg compressor that is freed also when somebody throws, and memory that its output grows
// in.
#pragma once

#include "jpeg/guard.hpp"

namespace dl2 {

struct Compress : jpeg_compress_struct {
    Compress() : jpeg_compress_struct{} {}
    ~Compress() { jpeg_destroy_compress(this); }
    Compress(const Compress&) = delete;
    Compress& operator=(const Compress&) = delete;
};

// libjpeg's output. `manager` comes first: libjpeg hands back a pointer to it. One may serve many
// images, since nothing of what it holds is read: it is memory, and no state.
struct Destination {
    jpeg_destination_mgr manager{};
    JOCTET* data = nullptr;
    std::size_t capacity = 0;

    Destination();
    ~Destination();
    Destination(const Destination&) = delete;
    Destination& operator=(const Destination&) = delete;

    Bytes written() const { return {data, capacity - manager.free_in_buffer}; }
};

}  // namespace dl2
