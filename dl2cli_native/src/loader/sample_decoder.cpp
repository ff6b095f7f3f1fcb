#include "loader/sample_decoder.hpp"

#include <algorithm>

#include "dl2/error.hpp"
#include "dl2/jpeg/header.hpp"

namespace dl2 {
namespace {

struct ResizeRows : RowSink {
    explicit ResizeRows(Resizer& resizer_) : resizer(resizer_) {}
    void rows(const std::uint8_t* rgbx, std::size_t stride, std::uint32_t count) override {
        resizer.push(rgbx, stride, count);
    }
    Resizer& resizer;
};

// Keeps the pixels of a region.
struct KeepRows : RowSink {
    KeepRows(std::vector<std::uint8_t>& pixels_, std::uint32_t width)
        : pixels(pixels_), row_bytes(std::size_t{4} * width) {
        pixels.clear();
    }
    void rows(const std::uint8_t* rgbx, std::size_t stride, std::uint32_t count) override {
        for (std::uint32_t row = 0; row < count; ++row, rgbx += stride) {
            pixels.insert(pixels.end(), rgbx, rgbx + row_bytes);
        }
    }
    std::vector<std::uint8_t>& pixels;
    std::size_t row_bytes;
};

// Throws Error(unsupported) for what the codec leaves to other libraries; as in a conversion, the
// content decides and not the name.
void check_is_ours(Bytes file, const Limits& limits) {
    if (!looks_like_jpeg(file)) throw Error(ErrorKind::unsupported, "not a JPEG");
    const JpegHeader header = read_jpeg_header(file, limits);
    if (header.lossless() || header.precision != 8) {
        throw Error(ErrorKind::unsupported, "not an 8-bit JPEG");
    }
}

}  // namespace

SampleDecoder::SampleDecoder(const LoaderOptions& options, const SampleStore& store)
    : options_(options),
      whole_files_(store.whole_files()),
      row_(std::size_t{4} * options.transform.size) {
    if (!options.output.normalized) return;
    for (int channel = 0; channel < 3; ++channel) {
        for (int value = 0; value < 256; ++value) {
            const float scaled = static_cast<float>(value) / 255.0f;
            normalized_[channel].push_back((scaled - options.output.mean[channel]) /
                                           options.output.std[channel]);
        }
    }
}

std::size_t SampleDecoder::decode(const RecordPrefix& prefix, std::uint32_t slot,
                                  std::uint64_t sample, std::uint8_t* out, std::string& damage) {
    const std::size_t images = prefix.metadata.labels.size();
    if (slot >= images) {
        throw Error(ErrorKind::data,
                    "the record holds " + std::to_string(images) + " images, the index says more");
    }
    if (whole_files_) check_is_ours(prefix.fragments.at(slot), options_.limits);
    fragments_.clear();
    for (std::size_t group = 0; group < prefix.scans; ++group) {
        fragments_.push_back(prefix.fragments[group * images + slot]);
    }
    const Orientation orientation = orientation_of(prefix, slot);
    const bool degrade = options_.on_damage == DamagePolicy::degrade;
    for (std::size_t groups = prefix.scans;; --groups) {
        try {
            decode_groups(groups, orientation, sample, out);
            return groups;
        } catch (const Error& error) {
            if (!degrade || groups == 1 || error.kind() != ErrorKind::data) throw;
            damage = "scan group " + std::to_string(groups) + ": " + error.what();
        }
    }
}

Orientation SampleDecoder::orientation_of(const RecordPrefix& prefix, std::uint32_t slot) const {
    if (!options_.apply_orientation) return Orientation(1);
    const std::vector<std::uint8_t>& known = prefix.metadata.orientations;
    if (slot < known.size()) return Orientation(known[slot]);
    return Orientation(read_jpeg_header(fragments_[0], options_.limits).orientation);
}

void SampleDecoder::decode_groups(std::size_t groups, Orientation orientation, std::uint64_t sample,
                                  std::uint8_t* out) {
    RegionDecoder decoder(fragments_.data(), groups,
                          {whole_files_, options_.smoothing, options_.limits, options_.codec},
                          memory_);
    const std::uint32_t width = decoder.width();
    const std::uint32_t height = decoder.height();
    const std::uint32_t shown_width = orientation.shown_width(width, height);
    const std::uint32_t shown_height = orientation.shown_height(width, height);
    const Placement whole = placement(sample, shown_width, shown_height);
    const std::uint32_t scale =
        options_.scaled_decode ? largest_scale(whole, options_.transform.size) : 1;
    const Region region = start(at_scale(whole, scale, shown_width, shown_height));
    if (orientation.as_stored()) {
        ResizeRows sink(resizer_);
        decoder.decode(region, sink, scale);
    } else {
        decode_turned(decoder, orientation, region, scale);
    }
    write(out);
}

void SampleDecoder::decode_turned(RegionDecoder& decoder, const Orientation& orientation,
                                  const Region& region, std::uint32_t scale) {
    const Region stored = orientation.stored(region, scaled_size(decoder.width(), scale),
                                             scaled_size(decoder.height(), scale));
    const std::uint32_t width = stored.x1 - stored.x0;
    const std::uint32_t height = stored.y1 - stored.y0;
    KeepRows sink(stored_, width);
    decoder.decode(stored, sink, scale);
    orientation.turn(stored_, width, height, turned_);
    resizer_.push(turned_.data(), std::size_t{4} * orientation.shown_width(width, height),
                  orientation.shown_height(width, height));
}

void SampleDecoder::show(const ForeignPixels& pixels, std::uint64_t sample, std::uint8_t* out) {
    const Region region = start(placement(sample, pixels.width, pixels.height));
    const std::size_t stride = std::size_t{4} * pixels.width;
    resizer_.push(pixels.rgbx + stride * region.y0 + std::size_t{4} * region.x0, stride,
                  region.y1 - region.y0);
    write(out);
}

Placement SampleDecoder::placement(std::uint64_t sample, std::uint32_t width,
                                   std::uint32_t height) const {
    const SampleRandom random(options_.seed, options_.epoch, sample);
    return place(options_.transform, random, width, height);
}

Region SampleDecoder::start(const Placement& placement) {
    resizer_.start(placement, options_.transform.size);
    return {placement.x + resizer_.columns().begin, placement.y + resizer_.rows().begin,
            placement.x + resizer_.columns().end, placement.y + resizer_.rows().end};
}

void SampleDecoder::write(std::uint8_t* out) {
    if (options_.output.normalized) {
        write_as<float>(normalized_, reinterpret_cast<float*>(out));
    } else {
        write_as<std::uint8_t>(nullptr, out);
    }
}

template <class Value>
void SampleDecoder::write_as(const std::vector<Value>* tables, Value* out) {
    const std::size_t size = options_.transform.size;
    const bool planes = options_.output.layout == Layout::nchw;
    const std::size_t channel_step = planes ? size * size : 1;
    const std::size_t column_step = planes ? 1 : 3;
    for (std::size_t y = 0; y < size; ++y) {
        resizer_.row(static_cast<std::uint32_t>(y), row_.data());
        for (std::size_t channel = 0; channel < 3; ++channel) {
            Value* target = out + channel * channel_step + y * size * column_step;
            const std::uint8_t* source = row_.data() + channel;
            if constexpr (sizeof(Value) == 1) {
                for (std::size_t x = 0; x < size; ++x) target[x * column_step] = source[4 * x];
            } else {
                const Value* table = tables[channel].data();
                for (std::size_t x = 0; x < size; ++x) {
                    target[x * column_step] = table[source[4 * x]];
                }
            }
        }
    }
}

}  // namespace dl2
