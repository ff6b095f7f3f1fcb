// What a loader is asked for: threads, fidelity, what to do with damage, and the form of its
// output.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dl2/io/bytes.hpp"
#include "dl2/jpeg/codec.hpp"
#include "dl2/loader/augment.hpp"

namespace dl2 {

enum class DamagePolicy : std::uint8_t {
    fail,     // the batch throws
    degrade,  // the groups before the damaged one are used; without any the image is skipped
    skip,     // the image is left out of its batch
};

enum class Layout : std::uint8_t { nchw, nhwc };

// How pixels are written: bytes, or (value / 255 - mean) / std in single precision.
struct OutputFormat {
    bool normalized = false;
    Layout layout = Layout::nchw;
    float mean[3] = {0, 0, 0};
    float std[3] = {1, 1, 1};

    std::size_t image_bytes(std::uint32_t size) const {
        return std::size_t{3} * size * size * (normalized ? sizeof(float) : 1);
    }
};

struct LoaderOptions {
    unsigned decode_threads = 1;
    unsigned fetch_threads = 1;
    std::size_t scans = 1;       // fidelity k; records with fewer scan groups give all they have
    std::size_t max_visits = 2;  // record prefixes or files in memory at a time
    DamagePolicy on_damage = DamagePolicy::fail;
    bool smoothing = false;
    bool apply_orientation = false;  // turn images as their EXIF orientation says
    Codec codec = Codec::native;
    bool scaled_decode = false;  // where a crop is large enough, decode at 1/2, 1/4 or 1/8
    TransformOptions transform;
    OutputFormat output;
    Limits limits;
    std::uint64_t seed = 0;
    std::uint64_t epoch = 0;
};

}  // namespace dl2
