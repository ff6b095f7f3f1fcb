// Where a loader's images come from: the records of a PCR dataset, or the files of an ImageFolder.
// Both are read in units, each with one visit to storage: a record at fidelity k, or a file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dl2/io/storage.hpp"
#include "dl2/io/throttle.hpp"
#include "dl2/record/reader.hpp"

namespace dl2 {

// Shared by as many loaders as there are epochs, and read by many threads at a time.
class SampleStore {
  public:
    SampleStore(std::shared_ptr<const Storage> storage, std::int64_t label_count,
                std::shared_ptr<Throttle> throttle)
        : storage_(std::move(storage)), label_count_(label_count), throttle_(std::move(throttle)) {}
    virtual ~SampleStore() = default;

    virtual std::size_t units() const = 0;

    // How many scan groups of a unit a reader at fidelity `scans` takes.
    virtual std::size_t groups(std::uint32_t unit, std::size_t scans) const = 0;

    // For messages: "record PCR_3.db", or the file.
    virtual std::string unit_name(std::uint32_t unit) const = 0;
    virtual std::string image_name(std::uint32_t unit, std::uint32_t slot) const = 0;

    // Reads a unit from `storage`, which is `storage()` or a slower view of it. Throws as
    // `read_prefix`; a file comes as one fragment.
    virtual RecordPrefix read(const Storage& storage, std::uint32_t unit, std::size_t scans,
                              std::string* damage) const = 0;

    // Whether images are whole files: with end markers, and of other formats than JPEG, too.
    virtual bool whole_files() const = 0;

    const Storage& storage() const { return *storage_; }
    const std::shared_ptr<Throttle>& throttle() const { return throttle_; }  // none: full speed

    // Labels are 0 to label_count() - 1.
    std::int64_t label_count() const { return label_count_; }

  private:
    std::shared_ptr<const Storage> storage_;
    std::int64_t label_count_;
    std::shared_ptr<Throttle> throttle_;
};

class RecordStore : public SampleStore {
  public:
    // Keeps the memory of at most `keep_buffers` records for the next ones.
    RecordStore(std::shared_ptr<const Storage> storage, std::vector<RecordLocation> records,
                std::int64_t label_count, std::size_t keep_buffers,
                std::shared_ptr<Throttle> throttle = nullptr);

    std::size_t units() const override { return records_.size(); }
    std::size_t groups(std::uint32_t unit, std::size_t scans) const override;
    std::string unit_name(std::uint32_t unit) const override;
    std::string image_name(std::uint32_t unit, std::uint32_t slot) const override;
    RecordPrefix read(const Storage& storage, std::uint32_t unit, std::size_t scans,
                      std::string* damage) const override;
    bool whole_files() const override { return false; }

  private:
    std::vector<RecordLocation> records_;
    mutable BufferPool pool_;
};

class FileStore : public SampleStore {
  public:
    // `names` are paths below `folder`. Throws Error(argument) for labels that do not fit.
    FileStore(std::string folder, std::vector<std::string> names, std::vector<std::int32_t> labels,
              std::int64_t label_count, std::uint64_t max_file_bytes,
              std::shared_ptr<Throttle> throttle = nullptr);

    std::size_t units() const override { return names_.size(); }
    std::size_t groups(std::uint32_t, std::size_t) const override { return 1; }
    std::string unit_name(std::uint32_t unit) const override { return names_[unit]; }
    std::string image_name(std::uint32_t unit, std::uint32_t) const override {
        return names_[unit];
    }
    RecordPrefix read(const Storage& storage, std::uint32_t unit, std::size_t scans,
                      std::string* damage) const override;
    bool whole_files() const override { return true; }

  private:
    std::vector<std::string> names_;
    std::vector<std::int32_t> labels_;
    std::uint64_t max_file_bytes_;
};

}  // namespace dl2
