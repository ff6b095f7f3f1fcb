// The loader over plain files: JPEGs by its own threads, files of other formats by the caller.
// Run under the thread sanitizer, too.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "dl2/error.hpp"
#include "dl2/loader/batch_loader.hpp"
#include "make_jpeg.hpp"

namespace fs = std::filesystem;
using dl2_test::JpegRecipe;

namespace {

constexpr std::size_t kFiles = 23;
constexpr std::uint32_t kSize = 24;
constexpr std::size_t kBatch = 4;
constexpr std::uint64_t kMaxBytes = 1 << 20;

void write(const fs::path& path, dl2::Bytes content) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(content.data),
               static_cast<std::streamsize>(content.size));
}

// A folder of files, every fifth of which is no JPEG, that goes away with the test.
struct Folder {
    fs::path path;
    std::vector<std::string> names;
    std::vector<std::int32_t> labels;

    Folder() {
        std::string pattern = (fs::temp_directory_path() / "dl2-test-XXXXXX").string();
        path = ::mkdtemp(pattern.data());
        for (std::size_t i = 0; i < kFiles; ++i) {
            names.push_back("f" + std::to_string(i));
            labels.push_back(static_cast<std::int32_t>(i));
            JpegRecipe recipe;
            recipe.seed = static_cast<unsigned>(i);
            const std::vector<std::uint8_t> foreign(10, static_cast<std::uint8_t>(i));
            write(path / names[i], is_foreign(i) ? foreign : dl2_test::make_jpeg(recipe));
        }
    }
    ~Folder() { fs::remove_all(path); }

    static bool is_foreign(std::size_t file) { return file % 5 == 3; }
};

struct Loaded {
    std::vector<std::uint8_t> images;
    std::vector<std::int64_t> labels;
    std::vector<std::string> damage;
    std::size_t foreign = 0;
};

Loaded load(const Folder& folder, const dl2::LoaderOptions& options, bool reject = false) {
    dl2::EpochPlan plan;
    plan.batch_size = kBatch;
    for (std::uint32_t i = 0; i < kFiles; ++i) {
        plan.visits.push_back(i);
        plan.samples.push_back({i, 0, i});
    }
    const std::size_t batches = (kFiles + kBatch - 1) / kBatch;
    const std::size_t image_bytes = options.output.image_bytes(kSize);
    std::vector<std::uint8_t> images(batches * kBatch * image_bytes);
    std::vector<std::int64_t> labels(batches * kBatch);
    const std::vector<std::uint8_t> pixels(std::size_t{4} * 50 * 40, 7);
    std::vector<std::thread> threads;
    dl2::BatchLoader loader(
        std::make_shared<dl2::FileStore>(folder.path.string(), folder.names, folder.labels,
                                         static_cast<std::int64_t>(kFiles), kMaxBytes),
        std::move(plan), options);
    for (std::size_t i = 0; i < batches; ++i) {
        loader.give(images.data() + i * kBatch * image_bytes, labels.data() + i * kBatch);
    }
    Loaded loaded;
    try {
        for (std::size_t number = 0; number < batches; ++number) {
            while (!loader.wait(50)) {
                for (const dl2::ForeignImage& image : loader.take_foreign()) {
                    ++loaded.foreign;
                    CHECK(image.bytes.size == 10);
                    threads.emplace_back([&loader, &pixels, image, reject] {
                        if (reject) return loader.reject_foreign(image.ticket, "unknown");
                        loader.put_foreign(image.ticket, {pixels.data(), 50, 40, 0.0});
                    });
                }
            }
            const dl2::BatchResult result = loader.take();
            const std::size_t first = number * kBatch;
            for (std::size_t i = 0; i < result.kept.size(); ++i) {
                loaded.labels.push_back(labels[first + i]);
            }
            const auto begin = images.begin() + static_cast<std::ptrdiff_t>(first * image_bytes);
            loaded.images.insert(
                loaded.images.end(), begin,
                begin + static_cast<std::ptrdiff_t>(result.kept.size() * image_bytes));
            loaded.damage.insert(loaded.damage.end(), result.damage.begin(), result.damage.end());
        }
    } catch (...) {
        for (std::thread& thread : threads) thread.join();
        throw;
    }
    for (std::thread& thread : threads) thread.join();
    return loaded;
}

dl2::LoaderOptions make_options(unsigned threads) {
    dl2::LoaderOptions options;
    options.decode_threads = options.fetch_threads = threads;
    options.max_visits = 6;
    options.transform.size = kSize;
    options.transform.resize_short = kSize + 4;
    return options;
}

}  // namespace

TEST_CASE("files and foreign images come in order, whatever the number of threads") {
    const Folder folder;
    const Loaded one = load(folder, make_options(1));
    REQUIRE(one.labels.size() == kFiles);
    CHECK(one.foreign == 4);
    for (std::size_t i = 0; i < kFiles; ++i) {
        CHECK(one.labels[i] == static_cast<std::int64_t>(i));
        if (Folder::is_foreign(i)) CHECK(one.images[i * 3 * kSize * kSize] == 7);
    }
    const Loaded many = load(folder, make_options(4));
    CHECK(many.images == one.images);
    CHECK(many.labels == one.labels);
}

TEST_CASE("a foreign image that nobody can decode goes by the damage policy") {
    const Folder folder;
    dl2::LoaderOptions options = make_options(2);
    CHECK_THROWS_WITH_AS(load(folder, options, true), "f3: unknown", dl2::Error);
    options.on_damage = dl2::DamagePolicy::skip;
    const Loaded loaded = load(folder, options, true);
    CHECK(loaded.labels.size() == kFiles - 4);
    CHECK(loaded.damage.front() == "f3: unknown");
}

TEST_CASE("empty, large and missing files are damage, an unknown label too") {
    Folder folder;
    dl2::LoaderOptions options = make_options(2);
    SUBCASE("empty") {
        write(folder.path / "f1", {});
        CHECK_THROWS_WITH_AS(load(folder, options), "f1: the file is empty", dl2::Error);
    }
    SUBCASE("large") {
        fs::resize_file(folder.path / "f1", kMaxBytes + 1);
        CHECK_THROWS_WITH_AS(load(folder, options),
                             "f1: 1048577 bytes, more than the limit of 1048576", dl2::Error);
    }
    SUBCASE("missing") {
        fs::remove(folder.path / "f1");
        options.on_damage = dl2::DamagePolicy::skip;
        CHECK(load(folder, options).labels.size() == kFiles - 1);
    }
    SUBCASE("a label") {
        folder.labels[1] = static_cast<std::int32_t>(kFiles);
        CHECK_THROWS_WITH_AS(load(folder, options), "f1: its label is 23, and there are 23 classes",
                             dl2::Error);
    }
}
