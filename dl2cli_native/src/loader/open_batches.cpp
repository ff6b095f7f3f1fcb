#include "loader/open_batches.hpp"

#include <algorithm>
#include <cstring>

#include "dl2/error.hpp"

namespace dl2 {
namespace {

constexpr std::size_t kMaxMessages = 16;  // a batch

}  // namespace

std::size_t OpenBatches::batches() const {
    return (plan_.samples.size() + plan_.batch_size - 1) / plan_.batch_size;
}

void OpenBatches::give(std::uint8_t* images, std::int64_t* labels) {
    const std::size_t number = first_ + open_.size();
    if (number >= batches()) throw Error(ErrorKind::argument, "there are no more batches");
    const std::size_t begin = number * plan_.batch_size;
    OpenBatch batch;
    batch.images = images;
    batch.labels = labels;
    batch.left = std::min(plan_.batch_size, plan_.samples.size() - begin);
    batch.kept.assign(batch.left, false);
    open_.push_back(std::move(batch));
}

bool OpenBatches::has_task() const {
    return next_sample_ < plan_.samples.size() &&
           next_sample_ / plan_.batch_size < first_ + open_.size();
}

DecodeTask OpenBatches::next_task(Readahead& visits) {
    DecodeTask task;
    task.planned = &plan_.samples[next_sample_];
    task.visit = &visits[task.planned->visit];
    task.batch = next_sample_ / plan_.batch_size;
    task.place = next_sample_ % plan_.batch_size;
    const OpenBatch& batch = open_[task.batch - first_];
    task.out = batch.images + task.place * image_bytes_;
    task.label = batch.labels + task.place;
    task.charge = !task.visit->charged;
    task.visit->charged = true;
    ++next_sample_;
    return task;
}

bool OpenBatches::finish(const DecodeTask& task, DecodeOutcome outcome) {
    OpenBatch& batch = open_[task.batch - first_];
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
    return --batch.left == 0;
}

std::size_t OpenBatches::done() const {
    return static_cast<std::size_t>(std::count_if(
        open_.begin(), open_.end(), [](const OpenBatch& batch) { return batch.left == 0; }));
}

OpenBatch OpenBatches::take() {
    if (!front_done()) throw Error(ErrorKind::argument, "the next batch is not done");
    OpenBatch batch = std::move(open_.front());
    open_.pop_front();
    ++first_;
    return batch;
}

BatchResult OpenBatches::compact(OpenBatch& batch) const {
    std::vector<std::uint32_t>& kept = batch.result.kept;
    for (std::size_t place = 0; place < batch.kept.size(); ++place) {
        if (!batch.kept[place]) continue;
        if (kept.size() < place) {
            std::memcpy(batch.images + kept.size() * image_bytes_,
                        batch.images + place * image_bytes_, image_bytes_);
            batch.labels[kept.size()] = batch.labels[place];
        }
        kept.push_back(static_cast<std::uint32_t>(place));
    }
    std::sort(batch.result.damage.begin(), batch.result.damage.end());
    return std::move(batch.result);
}

}  // namespace dl2
