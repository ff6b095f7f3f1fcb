#include "dl2/loader/batch_loader.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "dl2/error.hpp"
#include "loader/sample_decoder.hpp"

namespace dl2 {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kMaxMessages = 16;  // a batch
constexpr std::size_t kMaxThreads = 1024;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// One reading of a record. Written by a fetching thread before `done`, read only after it.
struct Visit {
    std::uint32_t record = 0;
    std::size_t uses = 0;  // samples of the plan that are not decoded yet
    bool done = false;
    bool charged = false;  // a batch accounts for its bytes
    RecordPrefix prefix;
    std::string damage;  // of the groups that are missing from the prefix
    std::exception_ptr error;
};

struct Batch {
    std::uint8_t* images = nullptr;
    std::int64_t* labels = nullptr;
    std::size_t left = 0;  // images that are not done
    std::vector<bool> kept;
    BatchResult result;
    std::exception_ptr error;
    std::size_t error_place = 0;  // of the image that `error` is about: the first one's counts
};

bool is_damage(const Error& error) {
    if (error.kind() == ErrorKind::data) return true;
    return error.kind() == ErrorKind::io && (error.code() == ENOENT || error.code() == EIO);
}

void check_options(const LoaderOptions& options, const EpochPlan& plan) {
    const auto refuse = [](const char* reason) { throw Error(ErrorKind::argument, reason); };
    check_transform(options.transform);
    if (options.groups == 0) refuse("fidelity 0");
    if (plan.batch_size == 0) refuse("batches of no images");
    if (options.decode_threads == 0 || options.decode_threads > kMaxThreads ||
        options.fetch_threads == 0 || options.fetch_threads > kMaxThreads) {
        refuse("1 to 1024 threads are needed");
    }
}

// The visits with their uses. Throws if some sample would have to wait for a record for which
// there never is room.
std::vector<Visit> make_visits(const RecordStore& store, const EpochPlan& plan,
                               std::size_t max_records) {
    std::vector<Visit> visits(plan.visits.size());
    for (std::size_t i = 0; i < visits.size(); ++i) {
        visits[i].record = plan.visits[i];
        if (plan.visits[i] >= store.records.size()) {
            throw Error(ErrorKind::argument, "the plan names a record that is not there");
        }
    }
    for (const PlannedSample& sample : plan.samples) ++visits.at(sample.visit).uses;
    std::vector<std::size_t> left(visits.size());
    std::transform(visits.begin(), visits.end(), left.begin(), [](auto& v) { return v.uses; });
    std::size_t fetched = 0;
    std::size_t alive = 0;
    for (const PlannedSample& sample : plan.samples) {
        for (; fetched <= sample.visit; ++fetched) alive += left[fetched] > 0 ? 1 : 0;
        if (alive > max_records) {
            throw Error(ErrorKind::argument, "the plan needs more records in memory than allowed");
        }
        if (--left[sample.visit] == 0) --alive;
    }
    return visits;
}

}  // namespace

class BatchLoader::Impl {
  public:
    Impl(std::shared_ptr<const RecordStore> store, EpochPlan plan, const LoaderOptions& options)
        : store_(std::move(store)), plan_(std::move(plan)), options_(options) {
        check_options(options_, plan_);
        visits_ = make_visits(*store_, plan_, options_.max_records);
        if (store_->throttle) throttled_.emplace(store_->storage, store_->throttle, stop_);
        try {
            for (unsigned i = 0; i < options_.fetch_threads; ++i) {
                threads_.emplace_back([this] { fetch_records(); });
            }
            for (unsigned i = 0; i < options_.decode_threads; ++i) {
                threads_.emplace_back([this] { decode_images(); });
            }
        } catch (...) {
            stop();
            throw;
        }
    }

    ~Impl() { stop(); }

    std::size_t batches() const {
        return (plan_.samples.size() + plan_.batch_size - 1) / plan_.batch_size;
    }

    void give(std::uint8_t* images, std::int64_t* labels) {
        const std::lock_guard<std::mutex> lock(mutex_);
        const std::size_t number = first_batch_ + open_.size();
        if (number >= batches()) throw Error(ErrorKind::argument, "there are no more batches");
        const std::size_t begin = number * plan_.batch_size;
        Batch batch;
        batch.images = images;
        batch.labels = labels;
        batch.left = std::min(plan_.batch_size, plan_.samples.size() - begin);
        batch.kept.assign(batch.left, false);
        open_.push_back(std::move(batch));
        work_.notify_all();
    }

    bool wait(std::uint32_t milliseconds) {
        std::unique_lock<std::mutex> lock(mutex_);
        const auto done = [this] { return !open_.empty() && open_.front().left == 0; };
        return ready_.wait_for(lock, std::chrono::milliseconds(milliseconds), done);
    }

    BatchResult take() {
        Batch batch;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (open_.empty() || open_.front().left != 0) {
                throw Error(ErrorKind::argument, "the next batch is not done");
            }
            batch = std::move(open_.front());
            open_.pop_front();
            ++first_batch_;
        }
        if (batch.error) std::rethrow_exception(batch.error);
        compact(batch);
        return std::move(batch.result);
    }

    LoaderStatistics statistics() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        LoaderStatistics statistics = statistics_;
        for (const Batch& batch : open_) statistics.ready_batches += batch.left == 0 ? 1 : 0;
        statistics.ready_records = alive_;
        return statistics;
    }

  private:
    // One image, and where it goes.
    struct Task {
        Visit* visit = nullptr;
        const PlannedSample* planned = nullptr;
        std::size_t batch = 0;
        std::size_t place = 0;
        bool charge = false;
        std::uint8_t* out = nullptr;
        std::int64_t* label = nullptr;
    };

    // What became of a task.
    struct Outcome {
        bool kept = false;
        bool degraded = false;
        std::string damage;
        std::exception_ptr error;
    };

    void stop() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            stop_ = true;
            work_.notify_all();
            room_.notify_all();
            fetched_.notify_all();
        }
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
    }

    void fetch_records() {
        std::unique_lock<std::mutex> lock(mutex_);
        while (true) {
            room_.wait(lock, [this] {
                return stop_ || next_visit_ == visits_.size() || alive_ < options_.max_records;
            });
            if (stop_ || next_visit_ == visits_.size()) return;
            Visit& visit = visits_[next_visit_++];
            if (visit.uses == 0) continue;
            ++alive_;
            lock.unlock();
            const auto start = Clock::now();
            fetch(visit);
            const double seconds = seconds_since(start);
            lock.lock();
            visit.done = true;
            statistics_.fetch_s += seconds;
            statistics_.bytes_read += visit.prefix.bytes_read;
            ++statistics_.records;
            fetched_.notify_all();
        }
    }

    const Storage& storage() const {
        if (throttled_) return *throttled_;
        return store_->storage;
    }

    void fetch(Visit& visit) {
        const RecordLocation& location = store_->records[visit.record];
        const std::size_t groups = std::min(options_.groups, location.lengths.size() - 1);
        std::string* damage = options_.on_damage == DamagePolicy::degrade ? &visit.damage : nullptr;
        try {
            visit.prefix = read_prefix(storage(), location, groups, store_->pool, damage);
        } catch (const Error& error) {
            const std::string reason = "record " + location.name + ": " + error.what();
            visit.error = std::make_exception_ptr(Error(error.kind(), reason, error.code()));
        } catch (...) {
            visit.error = std::current_exception();
        }
    }

    void decode_images() {
        SampleDecoder decoder(options_);
        std::unique_lock<std::mutex> lock(mutex_);
        while (true) {
            work_.wait(lock, [this] { return stop_ || has_task(); });
            if (stop_) return;
            const Task task = next_task();
            if (!task.visit->done) {
                const auto start = Clock::now();
                fetched_.wait(lock, [&] { return stop_ || task.visit->done; });
                statistics_.record_wait_s += seconds_since(start);
                if (stop_) return;
            }
            lock.unlock();
            const auto start = Clock::now();
            Outcome outcome = decode(decoder, task);
            const double seconds = seconds_since(start);
            lock.lock();
            statistics_.decode_s += seconds;
            ++statistics_.images;
            finish(task, std::move(outcome));
        }
    }

    bool has_task() const {
        return next_sample_ < plan_.samples.size() &&
               next_sample_ / plan_.batch_size < first_batch_ + open_.size();
    }

    Task next_task() {
        Task task;
        task.planned = &plan_.samples[next_sample_];
        task.visit = &visits_[task.planned->visit];
        task.batch = next_sample_ / plan_.batch_size;
        task.place = next_sample_ % plan_.batch_size;
        Batch& batch = open_[task.batch - first_batch_];
        task.out = batch.images + task.place * options_.output.image_bytes(options_.transform.size);
        task.label = batch.labels + task.place;
        task.charge = !task.visit->charged;
        task.visit->charged = true;
        ++next_sample_;
        return task;
    }

    Outcome decode(SampleDecoder& decoder, const Task& task) const {
        Outcome outcome;
        const Visit& visit = *task.visit;
        try {
            if (visit.error) std::rethrow_exception(visit.error);
            const std::size_t used = decode_named(decoder, task, outcome);
            outcome.kept = true;
            const std::size_t whole =
                std::min(options_.groups, store_->records[visit.record].lengths.size() - 1);
            outcome.degraded = used < whole;
        } catch (const Error& error) {
            if (options_.on_damage == DamagePolicy::fail || !is_damage(error)) {
                outcome.error = std::current_exception();
            } else {
                outcome.damage = error.what();
            }
        } catch (...) {
            outcome.error = std::current_exception();
        }
        return outcome;
    }

    std::size_t decode_named(SampleDecoder& decoder, const Task& task, Outcome& outcome) const {
        const Visit& visit = *task.visit;
        const std::string& record = store_->records[visit.record].name;
        const auto image = [&] {
            return "record " + record + ", image " + std::to_string(task.planned->slot) + ": ";
        };
        if (!visit.damage.empty()) outcome.damage = "record " + record + ": " + visit.damage;
        try {
            std::string damage;
            const std::size_t used = decoder.decode(visit.prefix, task.planned->slot,
                                                    task.planned->sample, task.out, damage);
            if (!damage.empty()) outcome.damage = image() + damage;
            *task.label = visit.prefix.metadata.labels[task.planned->slot];
            return used;
        } catch (const Error& error) {
            throw Error(error.kind(), image() + error.what(), error.code());
        }
    }

    // Called with the mutex held.
    void finish(const Task& task, Outcome outcome) {
        Batch& batch = open_[task.batch - first_batch_];
        BatchResult& result = batch.result;
        batch.kept[task.place] = outcome.kept;
        result.degraded += outcome.degraded ? 1 : 0;
        if (task.charge) result.bytes_read += task.visit->prefix.bytes_read;
        if (outcome.error && (!batch.error || task.place < batch.error_place)) {
            batch.error = outcome.error;
            batch.error_place = task.place;
        }
        auto& messages = result.damage;
        if (!outcome.damage.empty() && messages.size() < kMaxMessages &&
            std::find(messages.begin(), messages.end(), outcome.damage) == messages.end()) {
            messages.push_back(std::move(outcome.damage));
        }
        if (--task.visit->uses == 0) {
            task.visit->prefix = RecordPrefix();
            --alive_;
            room_.notify_all();
        }
        if (--batch.left == 0) ready_.notify_all();
    }

    // Moves the images that are kept to the front of the batch.
    void compact(Batch& batch) const {
        const std::size_t bytes = options_.output.image_bytes(options_.transform.size);
        std::vector<std::uint32_t>& kept = batch.result.kept;
        for (std::size_t place = 0; place < batch.kept.size(); ++place) {
            if (!batch.kept[place]) continue;
            if (kept.size() < place) {
                std::memcpy(batch.images + kept.size() * bytes, batch.images + place * bytes,
                            bytes);
                batch.labels[kept.size()] = batch.labels[place];
            }
            kept.push_back(static_cast<std::uint32_t>(place));
        }
        std::sort(batch.result.damage.begin(), batch.result.damage.end());
    }

    std::shared_ptr<const RecordStore> store_;
    const EpochPlan plan_;
    const LoaderOptions options_;
    std::atomic<bool> stop_{false};  // set with the mutex held, so that no waiter misses it
    std::optional<ThrottledStorage> throttled_;

    mutable std::mutex mutex_;         // guards all below
    std::condition_variable work_;     // a batch was given
    std::condition_variable room_;     // a record was done with
    std::condition_variable fetched_;  // a record was read
    std::condition_variable ready_;    // a batch is done
    std::vector<Visit> visits_;
    std::size_t next_visit_ = 0;
    std::size_t alive_ = 0;  // visits being read, or read and still of use
    std::size_t next_sample_ = 0;
    std::deque<Batch> open_;  // given and not taken
    std::size_t first_batch_ = 0;
    LoaderStatistics statistics_;
    std::vector<std::thread> threads_;
};

BatchLoader::BatchLoader(std::shared_ptr<const RecordStore> store, EpochPlan plan,
                         const LoaderOptions& options)
    : impl_(std::make_unique<Impl>(std::move(store), std::move(plan), options)) {}

BatchLoader::~BatchLoader() = default;

std::size_t BatchLoader::batches() const {
    return impl_->batches();
}

void BatchLoader::give(std::uint8_t* images, std::int64_t* labels) {
    impl_->give(images, labels);
}

bool BatchLoader::wait(std::uint32_t milliseconds) {
    return impl_->wait(milliseconds);
}

BatchResult BatchLoader::take() {
    return impl_->take();
}

LoaderStatistics BatchLoader::statistics() const {
    return impl_->statistics();
}

}  // namespace dl2
