// The loader with its threads: the same batches for any number of them, each record read once,
// damage handled by policy, a clean end at any moment. Run under the thread sanitizer, too.
#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "dl2/error.hpp"
#include "dl2/loader/batch_loader.hpp"
#include "dl2/record/converter.hpp"
#include "make_jpeg.hpp"
#include "scripts.hpp"

namespace fs = std::filesystem;
using dl2_test::JpegRecipe;

namespace {

constexpr std::size_t kRecords = 5;
constexpr std::size_t kImages = 7;  // a record
constexpr std::size_t kGroups = 10;
constexpr std::uint32_t kSize = 24;
constexpr std::size_t kBatch = 4;

// A folder with a few records, that goes away with the test.
struct DataSet {
    fs::path path;
    std::vector<dl2::RecordLocation> records;

    DataSet() {
        std::string pattern = (fs::temp_directory_path() / "dl2-test-XXXXXX").string();
        path = ::mkdtemp(pattern.data());
        dl2::Transcoder transcoder({dl2_test::default_script(), {}, false, {}});
        for (std::size_t record = 0; record < kRecords; ++record) {
            std::vector<dl2::RecordImage> images(kImages);
            for (std::size_t slot = 0; slot < kImages; ++slot) {
                JpegRecipe recipe;
                recipe.seed = static_cast<unsigned>(kImages * record + slot);
                if (slot == 2) recipe.input = recipe.stored = JCS_GRAYSCALE;
                images[slot].jpeg = transcoder.transcode(dl2_test::make_jpeg(recipe));
                images[slot].label = static_cast<std::int32_t>(recipe.seed);
            }
            const std::string name = "r" + std::to_string(record);
            const auto entry = dl2::write_record((path / name).string(), images, kGroups);
            records.push_back({name, entry.lengths, entry.metadata_crc32c});
        }
    }
    ~DataSet() { fs::remove_all(path); }

    std::uint64_t prefix_bytes(std::size_t record, std::size_t groups) const {
        std::uint64_t bytes = 0;
        for (std::size_t part = 0; part <= groups; ++part) bytes += records[record].lengths[part];
        return bytes;
    }

    void flip_byte(std::size_t record, std::size_t group) const {
        std::fstream file(path / records[record].name,
                          std::ios::in | std::ios::out | std::ios::binary);
        const auto at = static_cast<std::streamoff>(prefix_bytes(record, group) + 100);
        file.seekg(at);
        const char byte = static_cast<char>(file.get() ^ 1);
        file.seekp(at);
        file.put(byte);
    }
};

// Every image once; the records in windows of two, their images interleaved.
dl2::EpochPlan make_plan() {
    dl2::EpochPlan plan;
    plan.batch_size = kBatch;
    for (std::uint32_t record = 0; record < kRecords; ++record) plan.visits.push_back(record);
    for (std::uint32_t window = 0; window < kRecords; window += 2) {
        for (std::uint32_t slot = 0; slot < kImages; ++slot) {
            for (std::uint32_t visit = window; visit < window + 2 && visit < kRecords; ++visit) {
                plan.samples.push_back({visit, slot, kImages * visit + slot});
            }
        }
    }
    return plan;
}

dl2::LoaderOptions make_options(unsigned threads = 2) {
    dl2::LoaderOptions options;
    options.decode_threads = threads;
    options.fetch_threads = threads > 2 ? 2 : 1;
    options.scans = kGroups;
    options.max_visits = 4;
    options.transform.size = kSize;
    options.transform.resize_short = kSize + 4;
    return options;
}

struct Loaded {
    std::vector<std::uint8_t> images;
    std::vector<std::int64_t> labels;
    std::uint64_t bytes_read = 0;
    std::uint64_t degraded = 0;
    std::vector<std::string> damage;
};

// Runs an epoch with `prefetch` batches in flight; ends after `limit` batches.
Loaded load(const DataSet& data, const dl2::LoaderOptions& options, std::size_t prefetch = 2,
            std::size_t limit = 1000, std::shared_ptr<dl2::Throttle> throttle = nullptr) {
    // The loader goes first, and then the memory that it writes to.
    const std::size_t batches = (kRecords * kImages + kBatch - 1) / kBatch;
    const std::size_t image_bytes = options.output.image_bytes(kSize);
    std::vector<std::vector<std::uint8_t>> images(batches);
    for (auto& each : images) each.resize(kBatch * image_bytes);
    std::vector<std::vector<std::int64_t>> labels(batches, std::vector<std::int64_t>(kBatch));
    auto store =
        std::make_shared<dl2::RecordStore>(std::make_shared<dl2::LocalStorage>(data.path.string()),
                                           data.records, kRecords * kImages, 4, throttle);
    dl2::BatchLoader loader(store, make_plan(), options);
    CHECK(loader.batches() == batches);
    Loaded loaded;
    std::size_t given = 0;
    for (std::size_t number = 0; number < std::min(limit, loader.batches()); ++number) {
        for (; given < std::min(number + prefetch, loader.batches()); ++given) {
            loader.give(images[given].data(), labels[given].data());
        }
        while (!loader.wait(50)) {
        }
        const dl2::BatchResult result = loader.take();
        const std::size_t kept = result.kept.size();
        loaded.images.insert(
            loaded.images.end(), images[number].begin(),
            images[number].begin() + static_cast<std::ptrdiff_t>(kept * image_bytes));
        loaded.labels.insert(loaded.labels.end(), labels[number].begin(),
                             labels[number].begin() + static_cast<std::ptrdiff_t>(kept));
        loaded.bytes_read += result.bytes_read;
        loaded.degraded += result.degraded;
        loaded.damage.insert(loaded.damage.end(), result.damage.begin(), result.damage.end());
        CHECK(loader.statistics().units_in_memory <= options.max_visits);
    }
    return loaded;
}

}  // namespace

TEST_CASE("any number of threads and any prefetch depth give the same batches") {
    const DataSet data;
    const Loaded one = load(data, make_options(1), 1);
    CHECK(one.labels.size() == kRecords * kImages);
    for (const unsigned threads : {1u, 2u, 5u}) {
        for (const std::size_t prefetch : {1u, 3u, 100u}) {
            const Loaded many = load(data, make_options(threads), prefetch);
            CHECK(many.images == one.images);
            CHECK(many.labels == one.labels);
        }
    }
}

TEST_CASE("labels come in the plan's order, and bytes are those of the prefixes") {
    const DataSet data;
    dl2::LoaderOptions options = make_options();
    options.scans = 3;
    const Loaded loaded = load(data, options);
    const dl2::EpochPlan plan = make_plan();
    std::uint64_t bytes = 0;
    for (std::size_t record = 0; record < kRecords; ++record) {
        bytes += data.prefix_bytes(record, 3);
    }
    CHECK(loaded.bytes_read == bytes);
    for (std::size_t i = 0; i < plan.samples.size(); ++i) {
        CHECK(loaded.labels[i] == static_cast<std::int64_t>(plan.samples[i].sample));
    }
}

TEST_CASE("a loader may end at any moment") {
    const DataSet data;
    for (std::size_t limit = 0; limit < 6; ++limit) load(data, make_options(3), 4, limit);
}

TEST_CASE("a throttle counts every byte and changes none, and does not keep an end waiting") {
    const DataSet data;
    const auto fast = std::make_shared<dl2::Throttle>(dl2::ThrottleOptions{1e12, 0});
    const Loaded loaded = load(data, make_options(3), 2, 1000, fast);
    CHECK(loaded.images == load(data, make_options(3)).images);
    CHECK(fast->bytes() == loaded.bytes_read);
    CHECK(fast->ranges() == kRecords);
    load(data, make_options(3), 2, 0, std::make_shared<dl2::Throttle>(dl2::ThrottleOptions{1, 60}));
}

TEST_CASE("normalised output is the bytes, scaled; channels last is a permutation") {
    const DataSet data;
    dl2::LoaderOptions options = make_options();
    const Loaded bytes = load(data, options);
    options.output.layout = dl2::Layout::nhwc;
    const Loaded last = load(data, options);
    options.output.normalized = true;
    options.output.mean[1] = 0.5f;
    options.output.std[1] = 0.25f;
    const Loaded floats = load(data, options);
    const std::size_t plane = kSize * kSize;
    for (std::size_t i = 0; i < 3 * plane; ++i) {
        const std::uint8_t value = last.images[i];
        REQUIRE(value == bytes.images[i % 3 * plane + i / 3]);
        float scaled;
        std::memcpy(&scaled, floats.images.data() + sizeof(float) * i, sizeof scaled);
        const float expected = static_cast<float>(value) / 255.0f;
        REQUIRE(scaled == (i % 3 == 1 ? (expected - 0.5f) / 0.25f : expected));
    }
}

TEST_CASE("damage fails, degrades or skips") {
    const DataSet data;
    data.flip_byte(1, 4);
    dl2::LoaderOptions options = make_options();
    SUBCASE("fail names record and group") {
        CHECK_THROWS_WITH_AS(load(data, options), "record r1: scan group 5: wrong checksum",
                             dl2::Error);
    }
    SUBCASE("a lower fidelity does not see it") {
        options.scans = 4;
        CHECK(load(data, options).damage.empty());
    }
    SUBCASE("degrade uses the groups before") {
        options.on_damage = dl2::DamagePolicy::degrade;
        const Loaded loaded = load(data, options);
        CHECK(loaded.labels.size() == kRecords * kImages);
        CHECK(loaded.degraded == kImages);
        CHECK(loaded.damage.front() == "record r1: scan group 5: wrong checksum");
    }
    SUBCASE("skip leaves the images out") {
        options.on_damage = dl2::DamagePolicy::skip;
        const Loaded loaded = load(data, options);
        CHECK(loaded.labels.size() == (kRecords - 1) * kImages);
        CHECK(loaded.degraded == 0);
        CHECK(!loaded.damage.empty());
    }
    SUBCASE("a file that is cut short keeps its whole groups") {
        fs::resize_file(data.path / "r2", data.prefix_bytes(2, 7) - 1);
        options.on_damage = dl2::DamagePolicy::degrade;
        const Loaded loaded = load(data, options);
        CHECK(loaded.labels.size() == kRecords * kImages);
        CHECK(loaded.degraded == 2 * kImages);
    }
    SUBCASE("a missing file is skipped") {
        fs::remove(data.path / "r3");
        options.on_damage = dl2::DamagePolicy::degrade;
        CHECK(load(data, options).labels.size() == (kRecords - 1) * kImages);
    }
}

TEST_CASE("a plan that needs more records than fit is refused, not waited for") {
    const DataSet data;
    dl2::LoaderOptions options = make_options();
    options.max_visits = 1;
    CHECK_THROWS_AS(load(data, options), dl2::Error);
}
