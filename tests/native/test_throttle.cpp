#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <thread>
#include <vector>

#include "dl2/error.hpp"
#include "dl2/io/throttle.hpp"

using dl2::Throttle;

namespace {

constexpr std::size_t kMega = 1000000;

// Time that passes in sleep alone, each of which takes `late` seconds longer than asked for.
struct FakeTime {
    double now = 1000;
    double late = 0;
    std::vector<double> sleeps;
};

class FakeClock : public dl2::ThrottleClock {
  public:
    explicit FakeClock(FakeTime& time) : time_(time) {}
    double now() override { return time_.now; }
    void sleep(double seconds) override {
        time_.sleeps.push_back(seconds);
        time_.now += seconds + time_.late;
    }

  private:
    FakeTime& time_;
};

// Objects of the bytes 0, 1, 2, ...; each read takes `read_s` seconds.
class FakeStorage : public dl2::Storage {
  public:
    explicit FakeStorage(FakeTime* time = nullptr, double read_s = 0)
        : time_(time), read_s_(read_s) {}

    std::unique_ptr<dl2::RangeReader> open(const std::string&, std::uint64_t offset,
                                           std::uint64_t) const override {
        return std::make_unique<Range>(*this, offset);
    }

    dl2::StoredObject open_whole(const std::string&) const override {
        return {std::make_unique<Range>(*this, 0), 10 * 1000 * 1000};
    }

    mutable std::vector<std::size_t> reads;

  private:
    struct Range : dl2::RangeReader {
        Range(const FakeStorage& owner_, std::uint64_t at_) : owner(owner_), at(at_) {}
        void read(std::uint8_t* out, std::size_t size) override {
            for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<std::uint8_t>(at++);
            if (owner.time_ == nullptr) return;
            owner.reads.push_back(size);
            owner.time_->now += owner.read_s_;
        }
        void read(const std::vector<dl2::Piece>& pieces) override {
            for (const dl2::Piece& piece : pieces) {
                for (std::size_t i = 0; i < piece.size; ++i) {
                    piece.data[i] = static_cast<std::uint8_t>(at++);
                }
            }
        }
        const FakeStorage& owner;
        std::uint64_t at;
    };

    FakeTime* time_;
    double read_s_;
};

std::shared_ptr<Throttle> make(double bytes_per_s, double latency_s, FakeTime& time) {
    return std::make_shared<Throttle>(dl2::ThrottleOptions{bytes_per_s, latency_s},
                                      std::make_unique<FakeClock>(time));
}

void read_all(const dl2::Storage& storage, std::size_t size, std::size_t count = 1) {
    std::vector<std::uint8_t> bytes(size);
    for (std::size_t i = 0; i < count; ++i) storage.open("x", 7, size)->read(bytes.data(), size);
    std::size_t right = 0;
    while (right < size && bytes[right] == static_cast<std::uint8_t>(right + 7)) ++right;
    CHECK(right == size);
}

const std::atomic<bool> kGoOn{false};

}  // namespace

TEST_CASE("bytes take their time, in one large read and in many small ones") {
    FakeTime time;
    const FakeStorage inner(&time);
    const auto throttle = make(100 * kMega, 0, time);
    const dl2::ThrottledStorage storage(inner, throttle, kGoOn);
    SUBCASE("one of 10 MB, a little at a time") {
        read_all(storage, 10 * kMega);
        CHECK(*std::max_element(inner.reads.begin(), inner.reads.end()) <= 256 << 10);
        CHECK(*std::max_element(time.sleeps.begin(), time.sleeps.end()) < 0.003);
        CHECK(throttle->ranges() == 1);
    }
    SUBCASE("1000 of 10 kB") {
        read_all(storage, 10000, 1000);
        CHECK(throttle->ranges() == 1000);
    }
    SUBCASE("a whole object of 10 MB") {
        const dl2::StoredObject object = storage.open_whole("x");
        std::vector<std::uint8_t> bytes(object.size);
        object.range->read(bytes.data(), bytes.size());
        CHECK(throttle->ranges() == 1);
    }
    CHECK(throttle->bytes() == 10 * kMega);
    CHECK(std::abs(time.now - 1000.1) < 1e-6);
}

TEST_CASE("pieces of memory take the time of all their bytes") {
    FakeTime time;
    const FakeStorage inner(&time);
    const auto throttle = make(kMega, 0, time);
    std::vector<std::uint8_t> bytes(1001);
    const std::vector<dl2::Piece> pieces = {{bytes.data(), 1}, {bytes.data() + 1, 1000}};
    dl2::ThrottledStorage(inner, throttle, kGoOn).open("x", 7, 1001)->read(pieces);
    CHECK(bytes[0] == 7);
    CHECK(bytes[1000] == static_cast<std::uint8_t>(1007));
    CHECK(throttle->bytes() == 1001);
    CHECK(std::abs(time.now - 1000.001001) < 1e-9);
}

TEST_CASE("the real reads, and sleeps that take too long, are within the time, not on top") {
    FakeTime time;
    time.late = 0.001;
    const FakeStorage inner(&time, 0.0005);
    const auto throttle = make(100 * kMega, 0, time);
    const dl2::ThrottledStorage storage(inner, throttle, kGoOn);
    read_all(storage, 10 * kMega);
    CHECK(std::abs(time.now - 1000.1) < 0.002);
}

TEST_CASE("a storage that is slower than its throttle keeps its own pace") {
    FakeTime time;
    const FakeStorage inner(&time, 0.1);  // for 256 KiB
    const dl2::ThrottledStorage storage(inner, make(100 * kMega, 0, time), kGoOn);
    read_all(storage, 10 << 18);
    CHECK(std::abs(time.now - 1001) < 1e-6);
}

TEST_CASE("a pause saves up next to nothing") {
    FakeTime time;
    const auto throttle = make(kMega, 0, time);
    CHECK(throttle->arrival(kMega) == 1001);
    time.now = 2000;
    CHECK(std::abs(throttle->arrival(kMega) - 2001) < 0.03);
}

TEST_CASE("readers at the same time share the bandwidth, and wait for the latency together") {
    FakeTime time;
    const auto throttle = make(kMega, 0.1, time);
    CHECK(throttle->open_range() == 1000.1);
    CHECK(throttle->open_range() == 1000.1);
    CHECK(throttle->arrival(kMega) == 1001);
    CHECK(throttle->arrival(2 * kMega) == 1003);
    time.now = 1000.5;
    CHECK(throttle->arrival(kMega) == 1004);
}

TEST_CASE("latency comes once a range") {
    FakeTime time;
    const FakeStorage inner(&time);
    const dl2::ThrottledStorage storage(inner, make(0, 0.01, time), kGoOn);
    read_all(storage, 3 * kMega, 20);
    CHECK(std::abs(time.now - 1000.2) < 1e-6);
}

TEST_CASE("chunks of a slow throttle are small, so that bytes come steadily") {
    FakeTime time;
    CHECK(make(1000, 0, time)->chunk() == 4096);
    CHECK(make(10 * kMega, 0, time)->chunk() == 100000);
    CHECK(make(1e12, 0, time)->chunk() == 256 << 10);
    CHECK(make(0, 0, time)->chunk() == 256 << 10);
}

TEST_CASE("a stop ends all waiting") {
    FakeTime time;
    const FakeStorage inner(&time);
    const auto throttle = make(1, 3600, time);
    SUBCASE("before it begins") {
        const std::atomic<bool> stop{true};
        read_all(dl2::ThrottledStorage(inner, throttle, stop), kMega);
        CHECK(time.sleeps.empty());
        CHECK(throttle->bytes() == 0);
    }
    SUBCASE("in the middle, with real time and threads") {
        const auto real = std::make_shared<Throttle>(dl2::ThrottleOptions{1, 3600});
        const FakeStorage plain;
        std::atomic<bool> stop{false};
        const dl2::ThrottledStorage storage(plain, real, stop);
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i) threads.emplace_back([&] { read_all(storage, kMega); });
        while (real->ranges() < 3) std::this_thread::yield();
        stop = true;
        for (std::thread& thread : threads) thread.join();  // or hangs for an hour
        CHECK(real->bytes() <= 3 * real->chunk());
    }
}

TEST_CASE("numbers that make no sense are refused") {
    FakeTime time;
    CHECK_THROWS_AS(make(-1, 0, time), dl2::Error);
    CHECK_THROWS_AS(make(1, -1, time), dl2::Error);
    CHECK_THROWS_AS(make(std::nan(""), 0, time), dl2::Error);
    CHECK_THROWS_AS(make(1, std::numeric_limits<double>::infinity(), time), dl2::Error);
}
