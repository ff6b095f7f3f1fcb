#include "dl2/loader/batch_loader.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "loader/open_batches.hpp"
#include "loader/readahead.hpp"
#include "loader/sample_decoder.hpp"

namespace dl2 {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kMaxThreads = 1024;
constexpr std::chrono::milliseconds kCancelEvery(20);

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

LoaderOptions checked(const LoaderOptions& options, const EpochPlan& plan) {
    const auto refuse = [](const char* reason) { throw Error(ErrorKind::argument, reason); };
    check_transform(options.transform);
    if (options.scans == 0) refuse("a fidelity must be at least 1 scan, not 0");
    if (plan.batch_size == 0) refuse("a batch must have at least 1 image, not 0");
    if (options.decode_threads == 0 || options.decode_threads > kMaxThreads ||
        options.fetch_threads == 0 || options.fetch_threads > kMaxThreads) {
        refuse("1 to 1024 threads are needed");
    }
    return options;
}

}  // namespace

class BatchLoader::Impl {
  public:
    Impl(std::shared_ptr<const SampleStore> store, EpochPlan plan, const LoaderOptions& options)
        : store_(std::move(store)),
          plan_(std::move(plan)),
          options_(checked(options, plan_)),
          visits_(plan_, store_->units(), options_.max_visits),
          open_(plan_, options_.output.image_bytes(options_.transform.size)) {
        if (store_->throttle()) throttled_.emplace(store_->storage(), store_->throttle(), stop_);
        try {
            for (unsigned i = 0; i < options_.fetch_threads; ++i) {
                threads_.emplace_back([this] { fetch_units(); });
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

    std::size_t batches() const { return open_.batches(); }

    void give(std::uint8_t* images, std::int64_t* labels) {
        const std::lock_guard<std::mutex> lock(mutex_);
        open_.give(images, labels);
        work_.notify_all();
    }

    bool wait(std::uint32_t milliseconds) {
        std::unique_lock<std::mutex> lock(mutex_);
        ready_.wait_for(lock, std::chrono::milliseconds(milliseconds),
                        [this] { return open_.front_done() || !foreign_.empty(); });
        return open_.front_done();
    }

    BatchResult take() {
        OpenBatch batch;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            batch = open_.take();
        }
        if (batch.error) std::rethrow_exception(batch.error);
        return open_.compact(batch);
    }

    std::vector<ForeignImage> take_foreign() {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::vector<ForeignImage> images;
        for (const DecodeTask& task : foreign_) {
            at_caller_.emplace(next_ticket_, task);
            images.push_back({next_ticket_++, name_of(task), task.visit->prefix.fragments[0]});
        }
        foreign_.clear();
        return images;
    }

    void put_foreign(std::uint64_t ticket, const ForeignPixels& pixels) {
        const DecodeTask task = returned(ticket);
        SampleDecoder decoder(options_, *store_);
        const auto start = Clock::now();
        DecodeOutcome outcome = attempt([&](DecodeOutcome& result) {
            decoder.show(pixels, task.planned->sample, task.out);
            *task.label = task.visit->prefix.metadata.labels[task.planned->slot];
            result.kept = true;
        });
        finish(task, std::move(outcome), pixels.decode_s + seconds_since(start));
    }

    void reject_foreign(std::uint64_t ticket, const std::string& reason) {
        const DecodeTask task = returned(ticket);
        finish(task, attempt([&](DecodeOutcome&) {
                   throw Error(ErrorKind::data, name_of(task) + ": " + reason);
               }),
               0);
    }

    LoaderStatistics statistics() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        LoaderStatistics statistics = statistics_;
        statistics.ready_batches = open_.done();
        statistics.units_in_memory = visits_.in_memory();
        return statistics;
    }

  private:
    void stop() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            stop_ = true;
            work_.notify_all();
            room_.notify_all();
            fetched_.notify_all();
        }
        cancel_fetches();
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
    }

    // Nobody waits for a store that is slow: a read that begins while we look is ended, too.
    void cancel_fetches() {
        std::unique_lock<std::mutex> lock(mutex_);
        while (fetching_ > 0) {
            lock.unlock();
            store_->storage().cancel();
            lock.lock();
            room_.wait_for(lock, kCancelEvery, [this] { return fetching_ == 0; });
        }
    }

    void fetch_units() {
        std::unique_lock<std::mutex> lock(mutex_);
        while (true) {
            room_.wait(lock, [this] { return stop_ || visits_.finished() || visits_.has_room(); });
            Visit* visit = stop_ ? nullptr : visits_.begin();
            if (visit == nullptr) return;
            ++fetching_;
            lock.unlock();
            const auto start = Clock::now();
            fetch(*visit);
            const double seconds = seconds_since(start);
            lock.lock();
            if (--fetching_ == 0 && stop_) room_.notify_all();
            visit->done = true;
            statistics_.fetch_s += seconds;
            statistics_.bytes_read += visit->prefix.bytes_read;
            ++statistics_.units;
            fetched_.notify_all();
        }
    }

    void fetch(Visit& visit) {
        const Storage& storage = throttled_ ? *throttled_ : store_->storage();
        std::string* damage = options_.on_damage == DamagePolicy::degrade ? &visit.damage : nullptr;
        try {
            visit.prefix = store_->read(storage, visit.unit, options_.scans, damage);
        } catch (const Error& error) {
            const std::string reason = store_->unit_name(visit.unit) + ": " + error.what();
            visit.error = std::make_exception_ptr(Error(error.kind(), reason, error.code()));
        } catch (...) {
            visit.error = std::current_exception();
        }
    }

    void decode_images() {
        SampleDecoder decoder(options_, *store_);
        std::unique_lock<std::mutex> lock(mutex_);
        while (true) {
            work_.wait(lock, [this] { return stop_ || open_.has_task(); });
            if (stop_) return;
            const DecodeTask task = open_.next_task(visits_);
            if (!task.visit->done) {
                const auto start = Clock::now();
                fetched_.wait(lock, [&] { return stop_ || task.visit->done; });
                statistics_.fetch_wait_s += seconds_since(start);
                if (stop_) return;
            }
            lock.unlock();
            const auto start = Clock::now();
            DecodeOutcome outcome =
                attempt([&](DecodeOutcome& result) { decode(decoder, task, result); });
            const double seconds = seconds_since(start);
            finish(task, std::move(outcome), seconds);
            lock.lock();
        }
    }

    // Runs `work`, and says by the damage policy what becomes of its image.
    template <class Work>
    DecodeOutcome attempt(const Work& work) const {
        DecodeOutcome outcome;
        try {
            work(outcome);
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::unsupported) {
                outcome.foreign = true;
            } else if (options_.on_damage == DamagePolicy::fail || !error.is_file_fault()) {
                outcome.error = std::current_exception();
            } else {
                outcome.damage = error.what();
            }
        } catch (...) {
            outcome.error = std::current_exception();
        }
        return outcome;
    }

    void decode(SampleDecoder& decoder, const DecodeTask& task, DecodeOutcome& outcome) const {
        const Visit& visit = *task.visit;
        if (visit.error) std::rethrow_exception(visit.error);
        if (!visit.damage.empty()) {
            outcome.damage = store_->unit_name(visit.unit) + ": " + visit.damage;
        }
        try {
            std::string damage;
            const std::uint32_t slot = task.planned->slot;
            const std::size_t used =
                decoder.decode(visit.prefix, slot, task.planned->sample, task.out, damage);
            if (!damage.empty()) outcome.damage = name_of(task) + ": " + damage;
            *task.label = checked_label(visit.prefix.metadata.labels[slot]);
            outcome.degraded = used < store_->groups(visit.unit, options_.scans);
            outcome.kept = true;
        } catch (const Error& error) {
            throw Error(error.kind(), name_of(task) + ": " + error.what(), error.code());
        }
    }

    std::int64_t checked_label(std::int64_t label) const {
        if (label >= 0 && label < store_->label_count()) return label;
        throw Error(ErrorKind::data, "its label is " + std::to_string(label) + ", and there are " +
                                         std::to_string(store_->label_count()) + " classes");
    }

    std::string name_of(const DecodeTask& task) const {
        return store_->image_name(task.visit->unit, task.planned->slot);
    }

    // Takes the mutex.
    void finish(const DecodeTask& task, DecodeOutcome outcome, double seconds) {
        const std::lock_guard<std::mutex> lock(mutex_);
        statistics_.decode_s += seconds;
        if (outcome.foreign) {
            foreign_.push_back(task);
            ready_.notify_all();
            return;
        }
        ++statistics_.images;
        if (open_.finish(task, std::move(outcome))) ready_.notify_all();
        if (visits_.release(*task.visit)) room_.notify_all();
    }

    DecodeTask returned(std::uint64_t ticket) {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto found = at_caller_.find(ticket);
        if (found == at_caller_.end()) {
            throw Error(ErrorKind::argument, "there is no such ticket");
        }
        const DecodeTask task = found->second;
        at_caller_.erase(found);
        return task;
    }

    std::shared_ptr<const SampleStore> store_;
    const EpochPlan plan_;
    const LoaderOptions options_;
    std::atomic<bool> stop_{false};  // set with the mutex held, so that no waiter misses it
    std::optional<ThrottledStorage> throttled_;

    mutable std::mutex mutex_;         // guards all below
    std::condition_variable work_;     // a batch was given
    std::condition_variable room_;     // a unit was done with
    std::condition_variable fetched_;  // a unit was read
    std::condition_variable ready_;    // a batch is done, or an image is the caller's to decode
    Readahead visits_;
    OpenBatches open_;
    std::vector<DecodeTask> foreign_;                // not taken yet
    std::map<std::uint64_t, DecodeTask> at_caller_;  // by ticket
    std::uint64_t next_ticket_ = 0;
    unsigned fetching_ = 0;  // units that are being read
    LoaderStatistics statistics_;
    std::vector<std::thread> threads_;
};

BatchLoader::BatchLoader(std::shared_ptr<const SampleStore> store, EpochPlan plan,
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

std::vector<ForeignImage> BatchLoader::take_foreign() {
    return impl_->take_foreign();
}

void BatchLoader::put_foreign(std::uint64_t ticket, const ForeignPixels& pixels) {
    impl_->put_foreign(ticket, pixels);
}

void BatchLoader::reject_foreign(std::uint64_t ticket, const std::string& reason) {
    impl_->reject_foreign(ticket, reason);
}

LoaderStatistics BatchLoader::statistics() const {
    return impl_->statistics();
}

}  // namespace dl2
