// The record file: MetadataRecord | ScanGroup 1 | ... | ScanGroup G, each in the protobuf wire
// format, concatenated without framing; the lengths are in the index.
//
// Source of the format: the messages of the PCR_Release converter (MetadataRecord{labels = 1,
// progressive_levels = 2}, ScanGroup{image_bytes = 1}) and the wire format of Protocol Buffers
// ("Encoding"). Fields 16 and up are ours; readers that do not know them skip them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dl2/io/bytes.hpp"
#include "dl2/jpeg/codec.hpp"

namespace dl2 {

constexpr std::uint32_t kFormatVersion = 1;

struct Metadata {
    std::vector<std::int32_t> labels;         // n: the class of each image
    std::uint32_t groups = 0;                 // G
    std::uint32_t format_version = 0;         // 0: the PCR_Release converter wrote it
    std::vector<std::uint64_t> group_bytes;   // G: serialised length of each group
    std::vector<std::uint32_t> group_crc32c;  // G
    std::vector<std::uint16_t> widths;        // n, in pixels
    std::vector<std::uint16_t> heights;       // n
    std::vector<std::uint8_t> orientations;   // n, EXIF, 1 if none
    // G x n, group-major: length of each fragment. A reader that puts images together learns from
    // it where each fragment belongs before it has seen any.
    std::vector<std::uint32_t> fragment_bytes;
};

// The bytes in front of a fragment of `size` bytes in a ScanGroup: its key and length.
struct FragmentHead {
    std::uint8_t bytes[6];
    std::size_t size;
    explicit FragmentHead(std::uint32_t fragment_size);
};

std::vector<std::uint8_t> serialize_metadata(const Metadata& metadata);

// Reads a MetadataRecord; labels may be packed or not, unknown fields are skipped. Throws
// Error(data) with the reason if the bytes are no such message or its parts contradict each other.
Metadata parse_metadata(Bytes message);

// Appends the fragments of a serialised ScanGroup to `fragments` (views of `message`). Throws
// Error(data) if it does not hold exactly `images` of them.
void parse_scan_group(Bytes message, std::size_t images, std::vector<Bytes>& fragments);

// An image on its way into a record.
struct RecordImage {
    Transcoded jpeg;
    std::int32_t label = 0;
};

// What the index says of a record file.
struct RecordEntry {
    std::vector<std::uint64_t> lengths;  // G + 1 bytes: the metadata, then each group
    std::uint32_t metadata_crc32c = 0;
};

// Writes a record file: to a temporary name beside it, fsynced, renamed, the folder fsynced. Throws
// Error(io); then no file is left. Needs no memory beyond the images' own and 1 MiB.
RecordEntry write_record(const std::string& path, const std::vector<RecordImage>& images,
                         std::size_t groups);

}  // namespace dl2
