// Conversion: threads take images, one after the other over record boundaries, and leave each as
// grouped fragments in its record's job; the caller writes finished records in order.
//
// Memory: the compressed images of the jobs in flight (the caller bounds their number), and for
// each thread one image being transcoded (see Transcoder).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "dl2/error.hpp"
#include "dl2/jpeg/codec.hpp"
#include "dl2/record/record.hpp"

namespace dl2 {

enum class SourceStatus : std::uint8_t {
    pending,
    converted,
    foreign,   // no JPEG that libjpeg can transcode: somebody else decodes it and calls `put`
    rejected,  // something is wrong with the file: `reason` says what
    failed,    // the system could not read it: `code` is its errno; the work has to stop
    cancelled,
};

// What became of one source file.
struct SourceReport {
    SourceStatus status = SourceStatus::pending;
    std::string reason;
    int code = 0;             // the errno, where the system refused
    std::uint64_t bytes = 0;  // of the source file
    std::uint32_t crc32c = 0;
    std::uint8_t frame = 0;  // of a JPEG: the low nibble of its SOF marker
    bool jpeg = false;
    bool reencoded = false;
};

// The images of one record. Its methods may be called from any thread; `write` only when done.
class RecordJob {
  public:
    RecordJob(std::vector<std::string> paths, std::vector<std::int32_t> labels);

    std::size_t size() const { return paths_.size(); }
    std::size_t done() const { return done_.load(std::memory_order_acquire); }
    std::uint64_t source_bytes() const { return source_bytes_.load(std::memory_order_relaxed); }

    // Waits until each image was looked at; false after `milliseconds`.
    bool wait(std::uint32_t milliseconds);

    // The first image that the system could not read, or -1; also while the job is under way.
    std::int64_t failed() const { return failed_.load(std::memory_order_acquire); }

    const SourceReport& report(std::size_t index) const { return reports_.at(index); }

    // Gives the JPEG that stands for a foreign image; transcodes it in the calling thread.
    void put(std::size_t index, Bytes jpeg, const TranscodeOptions& options);

    // Marks a foreign image as rejected.
    void reject(std::size_t index, const std::string& reason);

    // Writes the converted images to a record file and frees them. Throws Error(io).
    RecordEntry write(const std::string& path, std::size_t groups);

  private:
    friend class Converter;

    void convert(std::size_t index, Transcoder& transcoder, const Limits& limits,
                 const std::atomic<bool>& cancel, std::vector<std::uint8_t>& buffer);
    void take_error(std::size_t index, const Error& error);
    void finish_one();

    std::vector<std::string> paths_;
    std::vector<SourceReport> reports_;
    std::vector<RecordImage> images_;
    std::size_t next_ = 0;  // guarded by the converter's mutex
    std::atomic<std::size_t> done_{0};
    std::atomic<std::uint64_t> source_bytes_{0};
    std::atomic<std::int64_t> failed_{-1};
    std::mutex mutex_;
    std::condition_variable finished_;
};

class Converter {
  public:
    // Throws Error(argument) where the system does not start as many threads.
    Converter(TranscodeOptions options, unsigned threads);
    ~Converter();  // cancels what is under way and joins the threads
    Converter(const Converter&) = delete;
    Converter& operator=(const Converter&) = delete;

    std::shared_ptr<RecordJob> submit(std::vector<std::string> paths,
                                      std::vector<std::int32_t> labels);

    // Makes every image that is not finished end soon, as cancelled.
    void cancel();

    const TranscodeOptions& options() const { return options_; }

  private:
    void work();
    void stop();

    TranscodeOptions options_;
    std::atomic<bool> cancel_{false};
    bool stop_ = false;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::shared_ptr<RecordJob>> jobs_;
    std::vector<std::thread> threads_;
};

}  // namespace dl2
