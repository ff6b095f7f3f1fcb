// One image, from the fragments of a record or the bytes of a file to its place in a batch.
#pragma once

#include <string>
#include <vector>

#include "dl2/jpeg/region.hpp"
#include "dl2/loader/batch_loader.hpp"
#include "dl2/loader/resize.hpp"
#include "loader/orientation.hpp"

namespace dl2 {

// The working memory of one decoding thread.
class SampleDecoder {
  public:
    SampleDecoder(const LoaderOptions& options, const SampleStore& store);

    // Decodes image `slot` at the prefix's fidelity into `out`. Returns the number of groups used;
    // with DamagePolicy::degrade that may be fewer than there are, and `damage` says why. Throws
    // Error(data), and Error(unsupported) for a file of another format than 8-bit JPEG.
    std::size_t decode(const RecordPrefix& prefix, std::uint32_t slot, std::uint64_t sample,
                       std::uint8_t* out, std::string& damage);

    // Crops and resizes pixels that somebody else decoded, and turned if that is asked for.
    void show(const ForeignPixels& pixels, std::uint64_t sample, std::uint8_t* out);

  private:
    Orientation orientation_of(const RecordPrefix& prefix, std::uint32_t slot) const;
    void decode_groups(std::size_t groups, Orientation orientation, std::uint64_t sample,
                       std::uint8_t* out);
    // Decodes a region of an image that is turned before it is resized.
    void decode_turned(RegionDecoder& decoder, const Orientation& orientation, const Region& region,
                       std::uint32_t scale);
    // Where a sample's crop of an image of this size lies.
    Placement placement(std::uint64_t sample, std::uint32_t width, std::uint32_t height) const;
    // Begins the resize of an image; returns the part of the image that is needed.
    Region start(const Placement& placement);
    void write(std::uint8_t* out);
    template <class Value>
    void write_as(const std::vector<Value>* tables, Value* out);

    const LoaderOptions& options_;
    const bool whole_files_;
    Resizer resizer_;
    std::vector<Bytes> fragments_;
    DecodeMemory memory_;
    std::vector<std::uint8_t> row_;
    std::vector<std::uint8_t> stored_;  // a region before it is turned, and after
    std::vector<std::uint8_t> turned_;
    std::vector<float> normalized_[3];  // the value of each byte, a table a channel
};

}  // namespace dl2
