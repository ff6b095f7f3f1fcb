#include "dl2/record/jpegs.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "dl2/error.hpp"
#include "dl2/io/crc32c.hpp"

namespace dl2 {
namespace {

// A few fragments at a time stay in the second-level cache between reading and checking.
constexpr std::size_t kBatchBytes = 256 << 10;
constexpr std::size_t kBatchImages = 256;
constexpr std::uint8_t kEndMarker[2] = {0xFF, 0xD9};

[[noreturn]] void damaged(std::size_t group, const std::string& reason) {
    throw Error(ErrorKind::data, "scan group " + std::to_string(group + 1) + ": " + reason);
}

// Where each image begins, and where the whole ends; checks that the fragments fill their groups.
std::vector<std::uint64_t> lay_out(const Metadata& metadata, std::size_t scans) {
    const std::size_t images = metadata.labels.size();
    std::vector<std::uint64_t> offsets(images + 1, 0);
    for (std::size_t group = 0; group < scans; ++group) {
        std::uint64_t total = 0;
        for (std::size_t image = 0; image < images; ++image) {
            const std::uint32_t size = metadata.fragment_bytes[group * images + image];
            offsets[image + 1] += size;
            total += FragmentHead(size).size + size;
        }
        if (total != metadata.group_bytes[group]) {
            damaged(group, "its fragments do not have the group's length");
        }
    }
    for (std::size_t image = 0; image < images; ++image) {
        offsets[image + 1] += offsets[image] + sizeof kEndMarker;
    }
    return offsets;
}

// Brings the fragments of one group to their images.
class GroupReader {
  public:
    GroupReader(RangeReader& range, std::uint8_t* out, std::vector<std::uint64_t>& cursors)
        : range_(range), out_(out), cursors_(cursors) {}

    void read(std::size_t group, const std::uint32_t* sizes, std::uint32_t expected_crc) {
        std::uint32_t crc = 0;
        for (std::size_t first = 0; first < cursors_.size();) {
            const std::size_t last = plan(first, sizes);
            range_.read(pieces_);
            if (!heads_are_right(first, last, sizes)) {
                damaged(group, "its lengths are not the recorded ones");
            }
            for (const Piece& piece : pieces_) crc = crc32c(piece.data, piece.size, crc);
            first = last;
        }
        if (crc != expected_crc) damaged(group, "wrong checksum");
    }

  private:
    // Makes pieces of the next fragments and of the bytes in front of each, and moves the cursors.
    std::size_t plan(std::size_t first, const std::uint32_t* sizes) {
        pieces_.clear();
        std::size_t bytes = 0;
        std::size_t image = first;
        for (; image < cursors_.size() && image - first < kBatchImages && bytes < kBatchBytes;
             ++image) {
            const FragmentHead head(sizes[image]);
            pieces_.push_back({heads_[image - first].data(), head.size});
            pieces_.push_back({out_ + cursors_[image], sizes[image]});
            cursors_[image] += sizes[image];
            bytes += head.size + sizes[image];
        }
        return image;
    }

    bool heads_are_right(std::size_t first, std::size_t last, const std::uint32_t* sizes) const {
        for (std::size_t image = first; image < last; ++image) {
            const FragmentHead head(sizes[image]);
            if (std::memcmp(heads_[image - first].data(), head.bytes, head.size) != 0) return false;
        }
        return true;
    }

    RangeReader& range_;
    std::uint8_t* out_;
    std::vector<std::uint64_t>& cursors_;
    std::array<std::array<std::uint8_t, sizeof FragmentHead::bytes>, kBatchImages> heads_;
    std::vector<Piece> pieces_;
};

// Puts the images of a record together from its prefix, which is in memory.
RecordJpegs assemble(RecordPrefix prefix, BufferPool& pool) {
    const std::size_t images = prefix.metadata.labels.size();
    RecordJpegs jpegs;
    jpegs.bytes_read = prefix.bytes_read;
    jpegs.buffer = pool.take(prefix.bytes_read + images * sizeof kEndMarker);
    jpegs.offsets.push_back(0);
    std::uint8_t* out = jpegs.buffer->data.get();
    for (std::size_t image = 0; image < images; ++image) {
        for (std::size_t group = 0; group < prefix.scans; ++group) {
            const Bytes fragment = prefix.fragments[group * images + image];
            std::memcpy(out, fragment.data, fragment.size);
            out += fragment.size;
        }
        std::memcpy(out, kEndMarker, sizeof kEndMarker);
        out += sizeof kEndMarker;
        jpegs.offsets.push_back(static_cast<std::uint64_t>(out - jpegs.buffer->data.get()));
    }
    jpegs.metadata = std::move(prefix.metadata);
    return jpegs;
}

}  // namespace

RecordJpegs read_jpegs(const Storage& storage, const RecordLocation& location, std::size_t scans,
                       BufferPool& pool) {
    // Through a network a second request costs more than a copy.
    if (storage.rereads() > 0) return assemble(read_prefix(storage, location, scans, pool), pool);
    RecordJpegs jpegs;
    jpegs.metadata = read_metadata(storage, location);
    const Metadata& metadata = jpegs.metadata;
    // `read_prefix` also refuses a fidelity that there is not.
    if (metadata.format_version == 0 || scans == 0 || scans > metadata.groups) {
        return assemble(read_prefix(storage, location, scans, pool), pool);
    }
    std::uint64_t group_bytes = 0;
    for (std::size_t group = 0; group < scans; ++group) group_bytes += metadata.group_bytes[group];
    const auto range = storage.open(location.name, location.lengths[0], group_bytes);
    jpegs.bytes_read = location.lengths[0] + group_bytes;
    jpegs.offsets = lay_out(metadata, scans);
    jpegs.buffer = pool.take(jpegs.offsets.back());

    const std::size_t images = metadata.labels.size();
    std::uint8_t* out = jpegs.buffer->data.get();
    std::vector<std::uint64_t> cursors(jpegs.offsets.begin(), jpegs.offsets.end() - 1);
    GroupReader reader(*range, out, cursors);
    for (std::size_t group = 0; group < scans; ++group) {
        reader.read(group, metadata.fragment_bytes.data() + group * images,
                    metadata.group_crc32c[group]);
    }
    for (const std::uint64_t end : cursors) std::memcpy(out + end, kEndMarker, sizeof kEndMarker);
    return jpegs;
}

}  // namespace dl2
