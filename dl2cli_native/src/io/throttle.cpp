#include "dl2/io/throttle.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "dl2/error.hpp"

namespace dl2 {
namespace {

constexpr double kChunkSeconds = 0.01;
constexpr std::size_t kMinChunk = 4 << 10;
constexpr std::size_t kMaxChunk = 256 << 10;
// Who comes late by less than this is served as if in time: sleeps are never exact, and what they
// take too long must not add up to a lower rate.
constexpr double kGrace = 0.02;
constexpr double kSlice = 0.02;  // how long a stop may wait for a sleeper

class SteadyClock : public ThrottleClock {
  public:
    double now() override {
        const auto time = std::chrono::steady_clock::now().time_since_epoch();
        return std::chrono::duration<double>(time).count();
    }
    void sleep(double seconds) override {
        std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    }
};

const ThrottleOptions& checked(const ThrottleOptions& options) {
    const auto possible = [](double value) { return std::isfinite(value) && value >= 0; };
    if (!possible(options.bytes_per_s) || !possible(options.latency_s)) {
        throw Error(ErrorKind::argument, "a throttle needs a rate and a latency of 0 or more");
    }
    return options;
}

std::size_t chunk_of(double bytes_per_s) {
    if (bytes_per_s == 0) return kMaxChunk;
    const double chunk = std::min<double>(bytes_per_s * kChunkSeconds, kMaxChunk);
    return std::max(static_cast<std::size_t>(chunk), kMinChunk);
}

class ThrottledRange : public RangeReader {
  public:
    ThrottledRange(std::unique_ptr<RangeReader> inner, Throttle& throttle,
                   const std::atomic<bool>& stop)
        : inner_(std::move(inner)), throttle_(throttle), stop_(stop) {}

    // The real read happens during the time that the bytes take, and is not added to it.
    void read(std::uint8_t* out, std::size_t size) override {
        while (size > 0 && !stop_) {
            const std::size_t part = std::min(size, throttle_.chunk());
            const double arrival = throttle_.arrival(part);
            inner_->read(out, part);
            throttle_.wait_until(arrival, stop_);
            out += part;
            size -= part;
        }
        if (size > 0) inner_->read(out, size);  // after a stop, at nobody's cost
    }

    // Whoever reads into pieces asks for few bytes at a time.
    void read(const std::vector<Piece>& pieces) override {
        const double arrival = stop_ ? 0 : throttle_.arrival(total_bytes(pieces));
        inner_->read(pieces);
        throttle_.wait_until(arrival, stop_);
    }

  private:
    std::unique_ptr<RangeReader> inner_;
    Throttle& throttle_;
    const std::atomic<bool>& stop_;
};

}  // namespace

std::unique_ptr<ThrottleClock> make_steady_clock() {
    return std::make_unique<SteadyClock>();
}

Throttle::Throttle(const ThrottleOptions& options, std::unique_ptr<ThrottleClock> clock)
    : options_(checked(options)), clock_(std::move(clock)), chunk_(chunk_of(options.bytes_per_s)) {}

double Throttle::open_range() {
    ++ranges_;
    return clock_->now() + options_.latency_s;
}

double Throttle::arrival(std::size_t size) {
    bytes_ += size;
    const std::lock_guard<std::mutex> lock(mutex_);
    const double now = clock_->now();
    if (options_.bytes_per_s == 0) return now;
    free_ = std::max(free_, started_ ? now - kGrace : now);
    started_ = true;
    free_ += static_cast<double>(size) / options_.bytes_per_s;
    return free_;
}

void Throttle::wait_until(double time, const std::atomic<bool>& stop) {
    for (double now = clock_->now(); now < time && !stop; now = clock_->now()) {
        clock_->sleep(std::min(time - now, kSlice));
    }
}

std::unique_ptr<RangeReader> ThrottledStorage::open(const std::string& name, std::uint64_t offset,
                                                    std::uint64_t length) const {
    const double begin = throttle_->open_range();
    return slowed(inner_.open(name, offset, length), begin);
}

StoredObject ThrottledStorage::open_whole(const std::string& name) const {
    const double begin = throttle_->open_range();
    StoredObject object = inner_.open_whole(name);
    object.range = slowed(std::move(object.range), begin);
    return object;
}

std::unique_ptr<RangeReader> ThrottledStorage::slowed(std::unique_ptr<RangeReader> range,
                                                      double begin) const {
    throttle_->wait_until(begin, stop_);
    return std::make_unique<ThrottledRange>(std::move(range), *throttle_, stop_);
}

}  // namespace dl2
