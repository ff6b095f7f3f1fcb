#include "jpeg/writer.hpp"

#include <jerror.h>

#include <cstdlib>

namespace dl2 {
namespace {

constexpr std::size_t kFirstCapacity = 64 << 10;

// malloc and realloc: an exception must not cross libjpeg's frames.
void reserve(j_compress_ptr cinfo, std::size_t used, std::size_t capacity) {
    auto& destination = *reinterpret_cast<Destination*>(cinfo->dest);
    if (capacity > destination.capacity) {
        auto* grown = static_cast<JOCTET*>(std::realloc(destination.data, capacity));
        if (grown == nullptr) ERREXIT1(cinfo, JERR_OUT_OF_MEMORY, 0);
        destination.data = grown;
        destination.capacity = capacity;
    }
    destination.manager.next_output_byte = destination.data + used;
    destination.manager.free_in_buffer = destination.capacity - used;
}

void start(j_compress_ptr cinfo) {
    reserve(cinfo, 0, kFirstCapacity);
}

boolean grow(j_compress_ptr cinfo) {
    const auto& destination = *reinterpret_cast<Destination*>(cinfo->dest);
    reserve(cinfo, destination.capacity, 2 * destination.capacity);
    return TRUE;
}

void end(j_compress_ptr) {}

}  // namespace

Destination::Destination() {
    manager.init_destination = start;
    manager.empty_output_buffer = grow;
    manager.term_destination = end;
}

Destination::~Destination() {
    std::free(data);
}

}  // namespace dl2
