#include "dl2/record/record.hpp"

#include <algorithm>

#include "dl2/error.hpp"
#include "dl2/io/crc32c.hpp"
#include "dl2/io/file.hpp"

namespace dl2 {
namespace {

enum WireType : std::uint32_t { kVarint = 0, kFixed64 = 1, kDelimited = 2, kFixed32 = 5 };

enum Field : std::uint32_t {
    kLabels = 1,
    kProgressiveLevels = 2,
    kFormatVersionField = 16,
    kGroupBytes = 17,
    kGroupCrc32c = 18,
    kWidths = 19,
    kHeights = 20,
    kOrientations = 21,
    kFragmentBytes = 22,
    kImageBytes = 1,  // of ScanGroup
};

[[noreturn]] void damaged(const std::string& reason) {
    throw Error(ErrorKind::data, reason);
}

void put_varint(std::vector<std::uint8_t>& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out.push_back(static_cast<std::uint8_t>(value | 0x80));
    out.push_back(static_cast<std::uint8_t>(value));
}

void put_key(std::vector<std::uint8_t>& out, Field field, WireType type) {
    put_varint(out, (std::uint64_t{field} << 3) | type);
}

// A bytes field that holds an array of little-endian integers.
template <class Integer>
void put_array(std::vector<std::uint8_t>& out, Field field, const std::vector<Integer>& values) {
    put_key(out, field, kDelimited);
    put_varint(out, values.size() * sizeof(Integer));
    for (const Integer value : values) {
        for (std::size_t byte = 0; byte < sizeof(Integer); ++byte) {
            out.push_back(
                static_cast<std::uint8_t>(static_cast<std::uint64_t>(value) >> (8 * byte)));
        }
    }
}

template <class Integer>
std::vector<Integer> get_array(Bytes payload) {
    if (payload.size % sizeof(Integer) != 0) damaged("an array with a fraction of an entry");
    std::vector<Integer> values(payload.size / sizeof(Integer));
    for (std::size_t i = 0; i < values.size(); ++i) {
        std::uint64_t value = 0;
        for (std::size_t byte = 0; byte < sizeof(Integer); ++byte) {
            value |= std::uint64_t{payload[i * sizeof(Integer) + byte]} << (8 * byte);
        }
        values[i] = static_cast<Integer>(value);
    }
    return values;
}

// Reads the fields of a protobuf message, one after the other, within its bounds.
class FieldReader {
  public:
    explicit FieldReader(Bytes message) : message_(message) {}

    bool next() {
        if (at_ == message_.size) return false;
        const std::uint64_t key = varint();
        field = static_cast<std::uint32_t>(key >> 3);
        type = static_cast<std::uint32_t>(key & 7);
        if (key >> 32 != 0 || field == 0) damaged("not a record: a field number out of range");
        switch (type) {
            case kVarint:
                value = varint();
                break;
            case kFixed64:
                payload = take(8);
                break;
            case kDelimited:
                payload = take(varint());
                break;
            case kFixed32:
                payload = take(4);
                break;
            default:
                damaged("not a record: an unknown wire type");
        }
        return true;
    }

    std::uint64_t varint() {
        std::uint64_t result = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            if (at_ == message_.size) damaged("a message that ends inside a field");
            const std::uint8_t byte = message_[at_++];
            result |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
            if (byte < 0x80) return result;
        }
        damaged("a variable-length integer of more than 64 bits");
    }

    bool at_end() const { return at_ == message_.size; }

    std::uint32_t field = 0;
    std::uint32_t type = 0;
    std::uint64_t value = 0;  // of a varint field
    Bytes payload;            // of the others

  private:
    Bytes take(std::uint64_t size) {
        if (size > message_.size - at_) damaged("a field longer than its message");
        const Bytes part = message_.slice(at_, at_ + size);
        at_ += size;
        return part;
    }

    Bytes message_;
    std::size_t at_ = 0;
};

void read_field(FieldReader& reader, Metadata& metadata) {
    const bool bytes = reader.type == kDelimited;
    const bool number = reader.type == kVarint;
    switch (reader.field) {
        case kLabels:
            if (number) metadata.labels.push_back(static_cast<std::int32_t>(reader.value));
            if (bytes) {  // packed
                FieldReader packed(reader.payload);
                while (!packed.at_end()) {
                    metadata.labels.push_back(static_cast<std::int32_t>(packed.varint()));
                }
            }
            break;
        case kProgressiveLevels:
            if (number) metadata.groups = static_cast<std::uint32_t>(reader.value);
            break;
        case kFormatVersionField:
            if (number) metadata.format_version = static_cast<std::uint32_t>(reader.value);
            break;
        case kGroupBytes:
            if (bytes) metadata.group_bytes = get_array<std::uint64_t>(reader.payload);
            break;
        case kGroupCrc32c:
            if (bytes) metadata.group_crc32c = get_array<std::uint32_t>(reader.payload);
            break;
        case kWidths:
            if (bytes) metadata.widths = get_array<std::uint16_t>(reader.payload);
            break;
        case kHeights:
            if (bytes) metadata.heights = get_array<std::uint16_t>(reader.payload);
            break;
        case kOrientations:
            if (bytes) metadata.orientations = get_array<std::uint8_t>(reader.payload);
            break;
        case kFragmentBytes:
            if (bytes) metadata.fragment_bytes = get_array<std::uint32_t>(reader.payload);
            break;
        default:
            break;
    }
}

void check_version_1(const Metadata& metadata) {
    const std::size_t images = metadata.labels.size();
    if (metadata.group_bytes.size() != metadata.groups ||
        metadata.group_crc32c.size() != metadata.groups || metadata.widths.size() != images ||
        metadata.heights.size() != images || metadata.orientations.size() != images ||
        metadata.fragment_bytes.size() != images * metadata.groups) {
        damaged("the metadata's parts contradict each other");
    }
}

Metadata describe(const std::vector<RecordImage>& images, std::size_t groups) {
    Metadata metadata;
    metadata.groups = static_cast<std::uint32_t>(groups);
    metadata.format_version = kFormatVersion;
    for (const RecordImage& image : images) {
        metadata.labels.push_back(image.label);
        metadata.widths.push_back(image.jpeg.width);
        metadata.heights.push_back(image.jpeg.height);
        metadata.orientations.push_back(image.jpeg.orientation);
    }
    for (std::size_t group = 0; group < groups; ++group) {
        std::uint64_t bytes = 0;
        std::uint32_t crc = 0;
        for (const RecordImage& image : images) {
            const Bytes fragment = image.jpeg.fragment(group);
            const auto size = static_cast<std::uint32_t>(fragment.size);
            const FragmentHead head(size);
            crc = crc32c(head.bytes, head.size, crc);
            crc = crc32c(fragment.data, fragment.size, crc);
            bytes += head.size + fragment.size;
            metadata.fragment_bytes.push_back(size);
        }
        metadata.group_bytes.push_back(bytes);
        metadata.group_crc32c.push_back(crc);
    }
    return metadata;
}

}  // namespace

FragmentHead::FragmentHead(std::uint32_t fragment_size) : bytes{}, size(0) {
    bytes[size++] = (kImageBytes << 3) | kDelimited;
    for (; fragment_size >= 0x80; fragment_size >>= 7) {
        bytes[size++] = static_cast<std::uint8_t>(fragment_size | 0x80);
    }
    bytes[size++] = static_cast<std::uint8_t>(fragment_size);
}

std::vector<std::uint8_t> serialize_metadata(const Metadata& metadata) {
    std::vector<std::uint8_t> out;
    for (const std::int32_t label : metadata.labels) {
        put_key(out, kLabels, kVarint);
        put_varint(out, static_cast<std::uint64_t>(static_cast<std::int64_t>(label)));
    }
    put_key(out, kProgressiveLevels, kVarint);
    put_varint(out, metadata.groups);
    put_key(out, kFormatVersionField, kVarint);
    put_varint(out, metadata.format_version);
    put_array(out, kGroupBytes, metadata.group_bytes);
    put_array(out, kGroupCrc32c, metadata.group_crc32c);
    put_array(out, kWidths, metadata.widths);
    put_array(out, kHeights, metadata.heights);
    put_array(out, kOrientations, metadata.orientations);
    put_array(out, kFragmentBytes, metadata.fragment_bytes);
    return out;
}

Metadata parse_metadata(Bytes message) {
    Metadata metadata;
    FieldReader reader(message);
    while (reader.next()) read_field(reader, metadata);
    if (metadata.groups == 0) damaged("not a record: no scan groups");
    if (metadata.format_version > kFormatVersion) {
        damaged("format version " + std::to_string(metadata.format_version) +
                ", newer than this program knows (" + std::to_string(kFormatVersion) + ")");
    }
    if (metadata.format_version != 0) check_version_1(metadata);
    return metadata;
}

void parse_scan_group(Bytes message, std::size_t images, std::vector<Bytes>& fragments) {
    FieldReader reader(message);
    std::size_t found = 0;
    while (reader.next()) {
        if (reader.field != kImageBytes || reader.type != kDelimited) continue;
        if (++found > images) break;
        fragments.push_back(reader.payload);
    }
    const std::string expected = std::to_string(images) + " images";
    if (found > images) damaged("more fragments than the " + expected);
    if (found < images) damaged(std::to_string(found) + " fragments for " + expected);
}

RecordEntry write_record(const std::string& path, const std::vector<RecordImage>& images,
                         std::size_t groups) {
    const Metadata metadata = describe(images, groups);
    const std::vector<std::uint8_t> message = serialize_metadata(metadata);
    RecordEntry entry;
    entry.lengths.push_back(message.size());
    entry.lengths.insert(entry.lengths.end(), metadata.group_bytes.begin(),
                         metadata.group_bytes.end());
    entry.metadata_crc32c = crc32c(message.data(), message.size());
    AtomicFile file(path);
    file.write(message.data(), message.size());
    for (std::size_t group = 0; group < groups; ++group) {
        for (const RecordImage& image : images) {
            const Bytes fragment = image.jpeg.fragment(group);
            const FragmentHead head(static_cast<std::uint32_t>(fragment.size));
            file.write(head.bytes, head.size);
            file.write(fragment.data, fragment.size);
        }
    }
    file.commit();
    return entry;
}

}  // namespace dl2
