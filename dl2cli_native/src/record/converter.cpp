#include "dl2/record/converter.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <system_error>

#include "dl2/error.hpp"
#include "dl2/io/crc32c.hpp"
#include "dl2/io/file.hpp"
#include "dl2/jpeg/header.hpp"

namespace dl2 {

RecordJob::RecordJob(std::vector<std::string> paths, std::vector<std::int32_t> labels)
    : paths_(std::move(paths)), reports_(paths_.size()), images_(paths_.size()) {
    if (labels.size() != paths_.size()) {
        throw Error(ErrorKind::argument, "as many labels as paths are needed");
    }
    for (std::size_t i = 0; i < images_.size(); ++i) images_[i].label = labels[i];
}

bool RecordJob::wait(std::uint32_t milliseconds) {
    std::unique_lock<std::mutex> lock(mutex_);
    return finished_.wait_for(lock, std::chrono::milliseconds(milliseconds),
                              [this] { return done() == size(); });
}

void RecordJob::finish_one() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (done_.fetch_add(1, std::memory_order_release) + 1 == size()) finished_.notify_all();
}

void RecordJob::convert(std::size_t index, Transcoder& transcoder, const Limits& limits,
                        const std::atomic<bool>& cancel, std::vector<std::uint8_t>& buffer) {
    SourceReport& report = reports_[index];
    try {
        read_file(paths_[index], limits.max_bytes, buffer);
        report.bytes = buffer.size();
        report.crc32c = crc32c(buffer.data(), buffer.size());
        source_bytes_.fetch_add(report.bytes, std::memory_order_relaxed);
        if (!looks_like_jpeg(buffer)) {
            report.status = SourceStatus::foreign;
            return;
        }
        report.jpeg = true;
        images_[index].jpeg = transcoder.transcode(buffer, &cancel);
        report.frame = images_[index].jpeg.frame;
        report.status = SourceStatus::converted;
        report.reason = images_[index].jpeg.damage;
    } catch (const Error& error) {
        take_error(index, error);
    } catch (const std::bad_alloc&) {
        take_error(index, Error(ErrorKind::io, std::strerror(ENOMEM), ENOMEM));
    }
}

void RecordJob::take_error(std::size_t index, const Error& error) {
    SourceReport& report = reports_[index];
    report.reason = error.what();
    report.code = error.code();
    if (error.kind() == ErrorKind::unsupported) {
        report.status = SourceStatus::foreign;
    } else if (error.kind() == ErrorKind::cancelled) {
        report.status = SourceStatus::cancelled;
    } else if (error.is_file_fault()) {
        report.status = SourceStatus::rejected;
    } else {
        report.status = SourceStatus::failed;
        std::int64_t none = -1;
        failed_.compare_exchange_strong(none, static_cast<std::int64_t>(index));
    }
}

void RecordJob::put(std::size_t index, Bytes jpeg, const TranscodeOptions& options) {
    Transcoder transcoder(options);
    images_.at(index).jpeg = transcoder.transcode(jpeg);
    reports_[index].status = SourceStatus::converted;
    reports_[index].reencoded = true;
}

void RecordJob::reject(std::size_t index, const std::string& reason) {
    reports_.at(index).status = SourceStatus::rejected;
    reports_[index].reason = reason;
}

RecordEntry RecordJob::write(const std::string& path, std::size_t groups) {
    std::vector<RecordImage> converted;
    for (std::size_t i = 0; i < size(); ++i) {
        if (reports_[i].status == SourceStatus::converted) {
            converted.push_back(std::move(images_[i]));
        }
    }
    images_.clear();
    return write_record(path, converted, groups);
}

Converter::Converter(TranscodeOptions options, unsigned threads) : options_(std::move(options)) {
    if (threads == 0) throw Error(ErrorKind::argument, "at least one thread is needed");
    if (options_.codec == Codec::native) codec_instruction_set();  // throws here, not in a thread
    try {
        for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
        const std::string started = std::to_string(threads_.size());
        stop();
        throw Error(ErrorKind::argument, "the system starts only " + started + " of " +
                                             std::to_string(threads) + " threads");
    }
}

Converter::~Converter() {
    stop();
}

void Converter::stop() {
    cancel();
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
}

std::shared_ptr<RecordJob> Converter::submit(std::vector<std::string> paths,
                                             std::vector<std::int32_t> labels) {
    auto job = std::make_shared<RecordJob>(std::move(paths), std::move(labels));
    if (job->size() > 0) {
        const std::lock_guard<std::mutex> lock(mutex_);
        jobs_.push_back(job);
    }
    wake_.notify_all();
    return job;
}

void Converter::cancel() {
    cancel_.store(true);
}

void Converter::work() {
    Transcoder transcoder(options_);
    std::vector<std::uint8_t> buffer;
    while (true) {
        std::shared_ptr<RecordJob> job;
        std::size_t index = 0;
        {
            std::unique_lock<std::mutex> lock(mutex_);
            wake_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
            if (stop_) return;
            job = jobs_.front();
            index = job->next_++;
            if (job->next_ == job->size()) jobs_.pop_front();
        }
        if (cancel_.load()) {
            job->reports_[index].status = SourceStatus::cancelled;
        } else {
            job->convert(index, transcoder, options_.limits, cancel_, buffer);
        }
        job->finish_one();
    }
}

}  // namespace dl2
