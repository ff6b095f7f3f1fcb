#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "dl2/error.hpp"
#include "dl2/io/crc32c.hpp"
#include "dl2/record/converter.hpp"
#include "dl2/record/jpegs.hpp"
#include "make_jpeg.hpp"
#include "scripts.hpp"

namespace fs = std::filesystem;
using dl2::Bytes;
using dl2::Error;
using dl2_test::JpegRecipe;
using dl2_test::make_jpeg;

namespace {

constexpr std::size_t kImages = 5;

// A folder that goes away with the test.
struct Folder {
    fs::path path;
    Folder() {
        std::string pattern = (fs::temp_directory_path() / "dl2-test-XXXXXX").string();
        path = ::mkdtemp(pattern.data());
    }
    ~Folder() { fs::remove_all(path); }
};

void write_file(const fs::path& path, const std::vector<std::uint8_t>& bytes) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
}

std::vector<dl2::RecordImage> make_images() {
    dl2::Transcoder transcoder({dl2_test::default_script(), {}, false, {}});
    std::vector<dl2::RecordImage> images(kImages);
    for (std::size_t i = 0; i < kImages; ++i) {
        JpegRecipe recipe;
        recipe.seed = static_cast<unsigned>(i);
        if (i == 2) recipe.input = recipe.stored = JCS_GRAYSCALE;
        images[i].jpeg = transcoder.transcode(make_jpeg(recipe));
        images[i].label = static_cast<std::int32_t>(10 * i);
    }
    return images;
}

struct Written {
    Folder folder;
    std::vector<dl2::RecordImage> images = make_images();
    dl2::RecordLocation location;
    Written() {
        const auto entry = dl2::write_record((folder.path / "r").string(), images, 10);
        location = {"r", entry.lengths, entry.metadata_crc32c};
    }
};

}  // namespace

TEST_CASE("metadata survives the wire, packed labels and unknown fields are read") {
    dl2::Metadata metadata;
    metadata.labels = {0, 7, 300, -1};
    metadata.groups = 2;
    metadata.format_version = 1;
    metadata.group_bytes = {1, 1ull << 40};
    metadata.group_crc32c = {1, 0xFFFFFFFF};
    metadata.widths = metadata.heights = {1, 2, 3, 65535};
    metadata.orientations = {1, 2, 3, 8};
    metadata.fragment_bytes = {1, 2, 3, 4, 5, 6, 7, 0xFFFFFFFF};
    const auto message = dl2::serialize_metadata(metadata);
    const auto parsed = dl2::parse_metadata(message);
    CHECK(parsed.labels == metadata.labels);
    CHECK(parsed.group_bytes == metadata.group_bytes);
    CHECK(parsed.group_crc32c == metadata.group_crc32c);
    CHECK(parsed.heights == metadata.heights);
    CHECK(parsed.orientations == metadata.orientations);
    CHECK(parsed.fragment_bytes == metadata.fragment_bytes);

    const std::vector<std::uint8_t> packed = {0x0A, 3, 5, 0xAC, 0x02, 0x10, 4, 0x1A, 1, 'x'};
    const auto published = dl2::parse_metadata(packed);
    CHECK(published.labels == std::vector<std::int32_t>{5, 300});
    CHECK(published.groups == 4);
    CHECK(published.format_version == 0);
}

TEST_CASE("no truncation or flipped byte of a message does more than throw") {
    const auto message =
        dl2::serialize_metadata({{1, 2}, 1, 1, {5}, {6}, {7, 8}, {9, 10}, {1, 1}, {3, 4}});
    for (std::size_t size = 0; size < message.size(); ++size) {
        std::uint32_t version = 0;
        try {  // without our fields, it is a message of the published converter
            version = dl2::parse_metadata(Bytes(message).slice(0, size)).format_version;
        } catch (const Error&) {
        }
        CHECK(version == 0);
    }
    for (std::size_t i = 0; i < message.size(); ++i) {
        for (unsigned bit = 0; bit < 8; ++bit) {
            auto damaged = message;
            damaged[i] = static_cast<std::uint8_t>(damaged[i] ^ (1u << bit));
            try {
                dl2::parse_metadata(damaged);
            } catch (const Error&) {
            }
        }
    }
}

TEST_CASE("a record without images is read as one") {
    const Folder folder;
    const std::string path = (folder.path / "r").string();
    const dl2::RecordEntry entry = dl2::write_record(path, {}, 10);
    const dl2::LocalStorage storage(folder.path.string());
    dl2::BufferPool pool;
    const auto jpegs =
        dl2::read_jpegs(storage, {"r", entry.lengths, entry.metadata_crc32c}, 10, pool);
    CHECK(jpegs.offsets == std::vector<std::uint64_t>{0});
}

TEST_CASE("a record gives every image back at every fidelity") {
    const Written written;
    const dl2::LocalStorage storage(written.folder.path.string());
    dl2::BufferPool pool;
    std::uint64_t expected_bytes = written.location.lengths[0];
    for (std::size_t k = 1; k <= 10; ++k) {
        expected_bytes += written.location.lengths[k];
        const auto prefix = dl2::read_prefix(storage, written.location, k, pool);
        CHECK(prefix.bytes_read == expected_bytes);
        CHECK(prefix.metadata.labels[3] == 30);
        const auto jpegs = dl2::read_jpegs(storage, written.location, k, pool);
        CHECK(jpegs.bytes_read == expected_bytes);
        for (std::size_t i = 0; i < kImages; ++i) {
            std::vector<std::uint8_t> wanted(
                written.images[i].jpeg.bytes.begin(),
                written.images[i].jpeg.bytes.begin() + written.images[i].jpeg.group_end[k - 1]);
            wanted.insert(wanted.end(), {0xFF, 0xD9});
            const std::size_t size = jpegs.offsets[i + 1] - jpegs.offsets[i];
            REQUIRE(size == wanted.size());
            CHECK(std::memcmp(jpegs.buffer->data.get() + jpegs.offsets[i], wanted.data(), size) ==
                  0);
        }
    }
    CHECK(fs::file_size(written.folder.path / "r") == expected_bytes);
    CHECK(dl2::read_metadata(storage, written.location).labels.size() == kImages);
}

TEST_CASE("every flipped byte of a record is noticed, and named by its group") {
    const Written written;
    const fs::path path = written.folder.path / "r";
    std::vector<std::uint8_t> bytes(fs::file_size(path));
    std::ifstream(path, std::ios::binary)
        .read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    const dl2::LocalStorage storage(written.folder.path.string());
    dl2::BufferPool pool;
    for (std::size_t i = 0; i < bytes.size(); i += 1 + i / 7) {
        auto damaged = bytes;
        damaged[i] ^= 0x10;
        write_file(path, damaged);
        CHECK_THROWS_AS(dl2::read_prefix(storage, written.location, 10, pool), Error);
        CHECK_THROWS_AS(dl2::read_jpegs(storage, written.location, 10, pool), Error);
    }
    auto damaged = bytes;
    damaged[written.location.lengths[0] + written.location.lengths[1] + 9] ^= 1;
    write_file(path, damaged);
    CHECK_THROWS_WITH_AS(dl2::read_prefix(storage, written.location, 10, pool),
                         "scan group 2: wrong checksum", Error);
    CHECK_NOTHROW(dl2::read_prefix(storage, written.location, 1, pool));
}

TEST_CASE("metadata that lies about its fragments is refused, whole checksums or not") {
    const Written written;
    const fs::path path = written.folder.path / "r";
    std::vector<std::uint8_t> bytes(fs::file_size(path));
    std::ifstream(path, std::ios::binary)
        .read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    const std::size_t end = written.location.lengths[0];
    const dl2::LocalStorage storage(written.folder.path.string());
    dl2::BufferPool pool;
    auto location = written.location;
    location.metadata_crc32c.reset();  // as if somebody had mended the checksum, too
    for (std::size_t at = end - 4 * 10 * kImages; at < end; ++at) {
        for (const int change : {1, 0x80}) {
            auto lying = bytes;
            lying[at] = static_cast<std::uint8_t>(lying[at] ^ change);
            write_file(path, lying);
            CHECK_THROWS_AS(dl2::read_jpegs(storage, location, 10, pool), Error);
        }
    }
    // Two lies that make up for each other leave the sum right: the bytes themselves tell.
    auto lying = bytes;
    ++lying[end - 4 * kImages];
    --lying[end - 4 * kImages + 4];
    write_file(path, lying);
    CHECK_THROWS_WITH_AS(dl2::read_jpegs(storage, location, 10, pool),
                         "scan group 10: its lengths are not the recorded ones", Error);
}

TEST_CASE("a range is read into pieces of memory, and not past its end or the file's") {
    const Folder folder;
    std::vector<std::uint8_t> bytes(5000);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * 7);
    write_file(folder.path / "f", bytes);
    const dl2::LocalStorage storage(folder.path.string());
    // More pieces than the system takes at once, of 0, 1, 2 and 3 bytes in turn.
    std::vector<std::uint8_t> got(3000);
    std::vector<dl2::Piece> pieces;
    for (std::size_t at = 0; at < got.size(); at += pieces.back().size) {
        pieces.push_back({got.data() + at, std::min(pieces.size() % 4, got.size() - at)});
    }
    CHECK(pieces.size() > 1024);
    const auto range = storage.open("f", 100, 4900);
    range->read(pieces);
    CHECK(std::equal(got.begin(), got.end(), bytes.begin() + 100));
    CHECK_THROWS_AS(range->read(pieces), Error);  // only 1900 are left
    std::uint8_t next = 0;
    range->read(&next, 1);
    CHECK(next == bytes[3100]);
    fs::resize_file(folder.path / "f", 4000);
    pieces = {{got.data(), 800}, {got.data() + 800, 200}};
    CHECK_THROWS_WITH_AS(range->read(pieces), "the file ends at byte 4000, 101 bytes too early",
                         Error);
}

TEST_CASE("an index that lies is refused before memory is taken") {
    const Written written;
    const dl2::LocalStorage storage(written.folder.path.string());
    dl2::BufferPool pool;
    auto location = written.location;
    location.lengths[10] = 1ull << 47;
    CHECK_THROWS_AS(dl2::read_prefix(storage, location, 10, pool), Error);
    location.lengths[10] = ~0ull;
    CHECK_THROWS_AS(dl2::read_prefix(storage, location, 10, pool), Error);
    CHECK_THROWS_AS(dl2::read_prefix(storage, written.location, 11, pool), Error);
    CHECK_THROWS_AS(dl2::read_prefix(storage, written.location, 0, pool), Error);
    CHECK_THROWS_AS(dl2::read_jpegs(storage, written.location, 11, pool), Error);
    CHECK_THROWS_AS(dl2::read_jpegs(storage, written.location, 0, pool), Error);
    location = written.location;
    location.name = "missing";
    CHECK_THROWS_AS(dl2::read_prefix(storage, location, 1, pool), Error);
}

TEST_CASE("the converter converts over record boundaries, reports bad files, and stops") {
    const Folder folder;
    std::vector<std::string> paths;
    std::vector<std::int32_t> labels;
    for (unsigned i = 0; i < 40; ++i) {
        JpegRecipe recipe;
        recipe.seed = i;
        auto jpeg = make_jpeg(recipe);
        if (i == 3) jpeg.resize(jpeg.size() / 2);
        if (i == 5) jpeg = {'P', 'N', 'G', '?'};
        if (i == 7) jpeg.clear();
        paths.push_back((folder.path / std::to_string(i)).string());
        labels.push_back(static_cast<std::int32_t>(i));
        write_file(paths.back(), jpeg);
    }
    paths[9] = (folder.path / "missing").string();
    dl2::Converter converter({dl2_test::default_script(), {}, false, {}}, 3);
    auto first = converter.submit({paths.begin(), paths.begin() + 20},
                                  {labels.begin(), labels.begin() + 20});
    auto second =
        converter.submit({paths.begin() + 20, paths.end()}, {labels.begin() + 20, labels.end()});
    while (!first->wait(50)) {
    }
    while (!second->wait(50)) {
    }
    using dl2::SourceStatus;
    CHECK(first->report(3).status == SourceStatus::rejected);
    CHECK(first->report(5).status == SourceStatus::foreign);
    CHECK(first->report(7).reason == "the file is empty");
    CHECK(first->report(9).reason == "No such file or directory");
    first->put(5, make_jpeg(), converter.options());
    CHECK(first->report(5).reencoded);
    const auto entry = first->write((folder.path / "record").string(), 10);
    dl2::BufferPool pool;
    const dl2::LocalStorage storage(folder.path.string());
    const auto prefix =
        dl2::read_prefix(storage, {"record", entry.lengths, entry.metadata_crc32c}, 10, pool);
    CHECK(prefix.metadata.labels.size() == 17);
    converter.cancel();
    auto third = converter.submit(paths, labels);
    while (!third->wait(50)) {
    }
    CHECK(third->report(0).status == SourceStatus::cancelled);
}

TEST_CASE("a record that cannot be written leaves nothing behind") {
    const Folder folder;
    fs::create_directory(folder.path / "taken");
    write_file(folder.path / "taken" / "x", {1});
    // A folder of the record's name: the rename fails, and the temporary file goes.
    CHECK_THROWS_AS(dl2::write_record((folder.path / "taken").string(), make_images(), 10), Error);
    CHECK_FALSE(fs::exists(folder.path / "taken.tmp"));
    CHECK_THROWS_AS(dl2::write_record((folder.path / "no" / "r").string(), make_images(), 10),
                    Error);
}
