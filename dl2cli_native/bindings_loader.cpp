// The Python face of batch loading.

#include "bindings.hpp"

#include <array>
#include <deque>
#include <memory>
#include <utility>

#include <pybind11/stl.h>
#include <unistd.h>

#include "dl2/jpeg/region.hpp"
#include "dl2/loader/augment.hpp"
#include "dl2/loader/batch_loader.hpp"

using namespace pybind11::literals;

namespace dl2_python {
namespace {

dl2::TransformOptions to_transform(const py::dict& values) {
    dl2::TransformOptions options;
    options.train = values["train"].cast<bool>();
    options.size = values["size"].cast<std::uint32_t>();
    options.resize_short = values["resize_short"].cast<std::uint32_t>();
    std::tie(options.scale_min, options.scale_max) =
        values["scale"].cast<std::pair<double, double>>();
    std::tie(options.ratio_min, options.ratio_max) =
        values["ratio"].cast<std::pair<double, double>>();
    options.flip_probability = values["flip_probability"].cast<double>();
    dl2::check_transform(options);
    return options;
}

dl2::DamagePolicy to_policy(const std::string& name) {
    if (name == "fail") return dl2::DamagePolicy::fail;
    if (name == "degrade") return dl2::DamagePolicy::degrade;
    if (name == "skip") return dl2::DamagePolicy::skip;
    throw dl2::Error(dl2::ErrorKind::argument, "on_damage must be fail, degrade or skip");
}

dl2::OutputFormat to_output(const py::dict& values) {
    dl2::OutputFormat output;
    output.normalized = values["normalized"].cast<bool>();
    const bool nhwc = values["channels_last"].cast<bool>();
    output.layout = nhwc ? dl2::Layout::nhwc : dl2::Layout::nchw;
    const auto mean = values["mean"].cast<std::array<float, 3>>();
    const auto std = values["std"].cast<std::array<float, 3>>();
    std::copy(mean.begin(), mean.end(), output.mean);
    std::copy(std.begin(), std.end(), output.std);
    return output;
}

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

dl2::EpochPlan to_plan(const Array<std::uint32_t>& visits, const Array<std::uint32_t>& visit,
                       const Array<std::uint32_t>& slot, const Array<std::uint64_t>& sample,
                       std::size_t batch_size) {
    if (visit.size() != slot.size() || visit.size() != sample.size()) {
        throw dl2::Error(dl2::ErrorKind::argument, "visit, slot and sample differ in length");
    }
    dl2::EpochPlan plan;
    plan.batch_size = batch_size;
    plan.visits.assign(visits.data(), visits.data() + visits.size());
    plan.samples.resize(static_cast<std::size_t>(visit.size()));
    for (std::size_t i = 0; i < plan.samples.size(); ++i) {
        plan.samples[i] = {visit.data()[i], slot.data()[i], sample.data()[i]};
        if (plan.samples[i].visit >= plan.visits.size()) {
            throw dl2::Error(dl2::ErrorKind::argument, "a sample of a visit that is not there");
        }
    }
    return plan;
}

// A batch loader together with the arrays that it writes to.
class BatchLoader {
  public:
    BatchLoader(std::shared_ptr<const dl2::SampleStore> store, dl2::EpochPlan plan,
                const dl2::LoaderOptions& options)
        : batch_size_(plan.batch_size),
          image_bytes_(options.output.image_bytes(options.transform.size)),
          owner_(::getpid()),
          loader_(std::make_unique<dl2::BatchLoader>(std::move(store), std::move(plan), options)) {}

    ~BatchLoader() { close(); }

    // After a fork the child has no threads to stop, and locks that nobody will ever open: what
    // belongs to the parent is left alone.
    void close() {
        if (::getpid() != owner_) {
            (void)loader_.release();
            return;
        }
        {
            const py::gil_scoped_release release;
            loader_.reset();
        }
        memory_.clear();
    }

    void give(const py::buffer& images, const py::buffer& labels) {
        py::buffer_info image_info = images.request(true);
        py::buffer_info label_info = labels.request(true);
        const auto bytes = [](const py::buffer_info& info) {
            return static_cast<std::size_t>(info.size * info.itemsize);
        };
        if (bytes(image_info) < batch_size_ * image_bytes_ ||
            bytes(label_info) < batch_size_ * sizeof(std::int64_t)) {
            throw dl2::Error(dl2::ErrorKind::argument, "memory for fewer images than a batch has");
        }
        alive().give(static_cast<std::uint8_t*>(image_info.ptr),
                     static_cast<std::int64_t*>(label_info.ptr));
        memory_.emplace_back(std::move(image_info), std::move(label_info));
    }

    bool wait(std::uint32_t milliseconds) {
        dl2::BatchLoader& loader = alive();
        const py::gil_scoped_release release;
        return loader.wait(milliseconds);
    }

    dl2::BatchResult take() {
        dl2::BatchResult result = alive().take();
        memory_.pop_front();
        return result;
    }

    // (ticket, name, bytes) of each image that Python has to decode.
    std::vector<py::tuple> take_foreign() {
        std::vector<py::tuple> images;
        for (const dl2::ForeignImage& image : alive().take_foreign()) {
            images.push_back(
                py::make_tuple(image.ticket, to_text(image.name), to_bytes(image.bytes)));
        }
        return images;
    }

    // `rgbx` is uint8 (H, W, 4).
    void put_foreign(std::uint64_t ticket, const Array<std::uint8_t>& rgbx, double decode_s) {
        if (rgbx.ndim() != 3 || rgbx.shape(2) != 4 || rgbx.size() == 0) {
            throw dl2::Error(dl2::ErrorKind::argument, "pixels of shape (H, W, 4) are needed");
        }
        dl2::BatchLoader& loader = alive();
        const dl2::ForeignPixels pixels{rgbx.data(), static_cast<std::uint32_t>(rgbx.shape(1)),
                                        static_cast<std::uint32_t>(rgbx.shape(0)), decode_s};
        const py::gil_scoped_release release;
        loader.put_foreign(ticket, pixels);
    }

    void reject_foreign(std::uint64_t ticket, const std::string& reason) {
        alive().reject_foreign(ticket, reason);
    }

    dl2::LoaderStatistics statistics() { return alive().statistics(); }

  private:
    dl2::BatchLoader& alive() {
        if (loader_ == nullptr || ::getpid() != owner_) {
            throw dl2::Error(dl2::ErrorKind::argument,
                             "the loader is closed, or belongs to another process");
        }
        return *loader_;
    }

    std::size_t batch_size_;
    std::size_t image_bytes_;
    ::pid_t owner_;
    std::deque<std::pair<py::buffer_info, py::buffer_info>> memory_;
    std::unique_ptr<dl2::BatchLoader> loader_;
};

// Rows of RGBX, kept as RGB.
struct RegionPixels : dl2::RowSink {
    dl2::Pixels pixels;
    std::uint8_t* out = nullptr;
    RegionPixels(std::uint32_t width, std::uint32_t height) {
        pixels = {width, height, 3, std::vector<std::uint8_t>(std::size_t{3} * width * height)};
        out = pixels.samples.data();
    }
    void rows(const std::uint8_t* rgbx, std::size_t stride, std::uint32_t count) override {
        for (std::uint32_t row = 0; row < count; ++row, rgbx += stride) {
            for (std::uint32_t x = 0; x < pixels.width; ++x, out += 3) {
                std::copy_n(rgbx + 4 * x, 3, out);
            }
        }
    }
};

// Where the crops of samples lie: boxes int64 (N, 4): x, y, width, height; parts float32 (N, 4):
// left, top, right, bottom within the box; flips bool (N,).
py::tuple place_samples(const py::dict& transform, std::uint64_t seed, std::uint64_t epoch,
                        const Array<std::uint64_t>& samples, const Array<std::uint32_t>& widths,
                        const Array<std::uint32_t>& heights) {
    const dl2::TransformOptions options = to_transform(transform);
    const py::ssize_t count = samples.size();
    if (widths.size() != count || heights.size() != count) {
        throw dl2::Error(dl2::ErrorKind::argument, "samples, widths and heights differ in length");
    }
    py::array_t<std::int64_t> boxes({count, py::ssize_t{4}});
    py::array_t<float> parts({count, py::ssize_t{4}});
    py::array_t<bool> flips(count);
    for (py::ssize_t i = 0; i < count; ++i) {
        if (widths.data()[i] == 0 || heights.data()[i] == 0) {
            throw dl2::Error(dl2::ErrorKind::argument, "an empty image");
        }
        const dl2::SampleRandom random(seed, epoch, samples.data()[i]);
        const dl2::Placement p = dl2::place(options, random, widths.data()[i], heights.data()[i]);
        const std::int64_t box[4] = {p.x, p.y, p.width, p.height};
        const float part[4] = {p.left, p.top, p.right, p.bottom};
        std::copy(box, box + 4, boxes.mutable_data(i, 0));
        std::copy(part, part + 4, parts.mutable_data(i, 0));
        flips.mutable_data()[i] = p.flip;
    }
    return py::make_tuple(boxes, parts, flips);
}

void bind_stores(py::module_& m) {
    py::class_<dl2::SampleStore, std::shared_ptr<dl2::SampleStore>>(m, "SampleStore");

    py::class_<dl2::RecordStore, dl2::SampleStore, std::shared_ptr<dl2::RecordStore>>(m,
                                                                                      "RecordStore")
        .def(py::init([](const py::object& place, const std::vector<std::string>& names,
                         const std::vector<std::vector<std::uint64_t>>& lengths,
                         const std::vector<std::optional<std::uint32_t>>& crc32c,
                         std::int64_t label_count, std::size_t keep_buffers,
                         std::shared_ptr<dl2::Throttle> throttle) {
                 std::vector<dl2::RecordLocation> records;
                 for (std::size_t i = 0; i < names.size(); ++i) {
                     records.push_back({names[i], lengths.at(i), crc32c.at(i)});
                 }
                 return std::make_shared<dl2::RecordStore>(to_storage(place), std::move(records),
                                                           label_count, keep_buffers,
                                                           std::move(throttle));
             }),
             py::kw_only(), "place"_a, "names"_a, "lengths"_a, "crc32c"_a, "label_count"_a,
             "keep_buffers"_a, "throttle"_a = nullptr);

    py::class_<dl2::FileStore, dl2::SampleStore, std::shared_ptr<dl2::FileStore>>(m, "FileStore")
        .def(py::init([](const py::bytes& folder, std::vector<std::string> names,
                         std::vector<std::int32_t> labels, std::int64_t label_count,
                         std::uint64_t max_file_bytes, std::shared_ptr<dl2::Throttle> throttle) {
                 return std::make_shared<dl2::FileStore>(folder, std::move(names),
                                                         std::move(labels), label_count,
                                                         max_file_bytes, std::move(throttle));
             }),
             py::kw_only(), "folder"_a, "names"_a, "labels"_a, "label_count"_a, "max_file_bytes"_a,
             "throttle"_a = nullptr);
}

void bind_results(py::module_& m) {
    py::class_<dl2::BatchResult>(m, "BatchResult")
        .def_property_readonly("kept",
                               [](const dl2::BatchResult& result) { return to_array(result.kept); })
        .def_readonly("bytes_read", &dl2::BatchResult::bytes_read)
        .def_readonly("degraded", &dl2::BatchResult::degraded)
        .def_property_readonly("damage", [](const dl2::BatchResult& result) {
            std::vector<py::str> sentences;
            for (const std::string& sentence : result.damage)
                sentences.push_back(to_text(sentence));
            return sentences;
        });

    py::class_<dl2::LoaderStatistics>(m, "LoaderStatistics")
        .def_readonly("units", &dl2::LoaderStatistics::units)
        .def_readonly("bytes_read", &dl2::LoaderStatistics::bytes_read)
        .def_readonly("images", &dl2::LoaderStatistics::images)
        .def_readonly("fetch_s", &dl2::LoaderStatistics::fetch_s)
        .def_readonly("decode_s", &dl2::LoaderStatistics::decode_s)
        .def_readonly("fetch_wait_s", &dl2::LoaderStatistics::fetch_wait_s)
        .def_readonly("ready_batches", &dl2::LoaderStatistics::ready_batches)
        .def_readonly("units_in_memory", &dl2::LoaderStatistics::units_in_memory);
}

void bind_batch_loader(py::module_& m) {
    py::class_<BatchLoader>(m, "BatchLoader")
        .def(py::init([](std::shared_ptr<dl2::SampleStore> store,
                         const Array<std::uint32_t>& visits, const Array<std::uint32_t>& visit,
                         const Array<std::uint32_t>& slot, const Array<std::uint64_t>& sample,
                         std::size_t batch_size, const py::dict& transform, const py::dict& output,
                         const dl2::Limits& limits, std::size_t scans, std::size_t max_visits,
                         unsigned decode_threads, unsigned fetch_threads,
                         const std::string& on_damage, bool smoothing, bool apply_orientation,
                         const std::string& codec, bool scaled_decode, std::uint64_t seed,
                         std::uint64_t epoch) {
                 dl2::LoaderOptions options;
                 options.decode_threads = decode_threads;
                 options.fetch_threads = fetch_threads;
                 options.scans = scans;
                 options.max_visits = max_visits;
                 options.on_damage = to_policy(on_damage);
                 options.smoothing = smoothing;
                 options.apply_orientation = apply_orientation;
                 options.codec = dl2::codec_of_name(codec);
                 options.scaled_decode = scaled_decode;
                 options.transform = to_transform(transform);
                 options.output = to_output(output);
                 options.limits = limits;
                 options.seed = seed;
                 options.epoch = epoch;
                 return std::make_unique<BatchLoader>(
                     std::move(store), to_plan(visits, visit, slot, sample, batch_size), options);
             }),
             py::kw_only(), "store"_a, "visits"_a, "visit"_a, "slot"_a, "sample"_a, "batch_size"_a,
             "transform"_a, "output"_a, "limits"_a, "scans"_a, "max_visits"_a, "decode_threads"_a,
             "fetch_threads"_a, "on_damage"_a, "smoothing"_a, "apply_orientation"_a, "codec"_a,
             "scaled_decode"_a, "seed"_a, "epoch"_a)
        .def("give", &BatchLoader::give, "images"_a, "labels"_a)
        .def("wait", &BatchLoader::wait, "milliseconds"_a)
        .def("take", &BatchLoader::take)
        .def("take_foreign", &BatchLoader::take_foreign)
        .def("put_foreign", &BatchLoader::put_foreign, "ticket"_a, "rgbx"_a, "decode_s"_a)
        .def("reject_foreign", &BatchLoader::reject_foreign, "ticket"_a, "reason"_a)
        .def("statistics", &BatchLoader::statistics)
        .def("close", &BatchLoader::close);
}

}  // namespace

void bind_loader(py::module_& m) {
    bind_stores(m);
    bind_results(m);
    bind_batch_loader(m);

    m.def("place_samples", &place_samples, "transform"_a, "seed"_a, "epoch"_a, "samples"_a,
          "widths"_a, "heights"_a);
    m.def(
        "decode_region",
        [](const std::vector<py::buffer>& fragments, std::array<std::uint32_t, 4> box,
           bool smoothing, const dl2::Limits& limits, const std::string& codec) {
            std::vector<InputBytes> inputs;
            std::vector<dl2::Bytes> views;
            inputs.reserve(fragments.size());
            for (const py::buffer& fragment : fragments) {
                views.push_back(inputs.emplace_back(fragment).view());
            }
            const py::gil_scoped_release release;
            dl2::DecodeMemory memory;
            dl2::RegionDecoder decoder(views.data(), views.size(),
                                       {false, smoothing, limits, dl2::codec_of_name(codec)},
                                       memory);
            const std::uint64_t right = std::uint64_t{box[0]} + box[2];
            const std::uint64_t bottom = std::uint64_t{box[1]} + box[3];
            if (right > decoder.width() || bottom > decoder.height()) {
                throw dl2::Error(dl2::ErrorKind::argument, "a region outside of the image");
            }
            RegionPixels sink(box[2], box[3]);
            decoder.decode({box[0], box[1], box[0] + box[2], box[1] + box[3]}, sink);
            return std::move(sink.pixels);
        },
        "fragments"_a, "box"_a, py::kw_only(), "smoothing"_a = false, "limits"_a = dl2::Limits{},
        "codec"_a = "native");
}

}  // namespace dl2_python
