// A storage made slower: a bandwidth that all who read share, and a latency of each range, which
// readers at the same time wait out together, as with a network share.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "dl2/io/storage.hpp"

namespace dl2 {

struct ThrottleOptions {
    double bytes_per_s = 0;  // 0 is no limit
    double latency_s = 0;    // of each range that is opened
};

// What a throttle knows of time; tests bring their own.
class ThrottleClock {
  public:
    virtual ~ThrottleClock() = default;
    virtual double now() = 0;  // seconds
    virtual void sleep(double seconds) = 0;
};

std::unique_ptr<ThrottleClock> make_steady_clock();

// Hands out the time that bytes take. Thread-safe.
class Throttle {
  public:
    // Throws Error(argument) for numbers that make no sense.
    explicit Throttle(const ThrottleOptions& options,
                      std::unique_ptr<ThrottleClock> clock = make_steady_clock());

    // Bytes to ask for at a time, so that they come steadily.
    std::size_t chunk() const { return chunk_; }

    // Returns when a range that is opened now begins to arrive.
    double open_range();

    // Returns when `size` more bytes have arrived: after all that were asked for before them.
    double arrival(std::size_t size);

    // Sleeps until then, or until a moment after `stop`.
    void wait_until(double time, const std::atomic<bool>& stop);

    std::uint64_t bytes() const { return bytes_; }    // asked for so far
    std::uint64_t ranges() const { return ranges_; }  // opened so far

  private:
    const ThrottleOptions options_;
    const std::unique_ptr<ThrottleClock> clock_;
    const std::size_t chunk_;
    std::atomic<std::uint64_t> bytes_{0};
    std::atomic<std::uint64_t> ranges_{0};
    std::mutex mutex_;
    bool started_ = false;
    double free_ = 0;  // when all that was asked for has arrived
};

// What `inner` holds, at the pace of `throttle`, until `stop`: from then on nobody waits. The
// storage must outlive its ranges, and all that is given by reference the storage.
class ThrottledStorage : public Storage {
  public:
    ThrottledStorage(const Storage& inner, std::shared_ptr<Throttle> throttle,
                     const std::atomic<bool>& stop)
        : inner_(inner), throttle_(std::move(throttle)), stop_(stop) {}

    StoredObject open_whole(const std::string& name) const override;
    std::unique_ptr<RangeReader> open(const std::string& name, std::uint64_t offset,
                                      std::uint64_t length) const override;
    unsigned rereads() const override { return inner_.rereads(); }
    void cancel() const override { inner_.cancel(); }

  private:
    std::unique_ptr<RangeReader> slowed(std::unique_ptr<RangeReader> range, double begin) const;

    const Storage& inner_;
    const std::shared_ptr<Throttle> throttle_;
    const std::atomic<bool>& stop_;
};

}  // namespace dl2
