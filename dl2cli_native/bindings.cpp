// The Python face of the native core, and the only file that knows pybind11. Every call that reads
// files or touches pixels releases the GIL.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <unistd.h>

#include <deque>
#include <optional>

#include "dl2/batch_loader.hpp"
#include "dl2/converter.hpp"
#include "dl2/crc32c.hpp"
#include "dl2/error.hpp"
#include "dl2/jpeg_codec.hpp"
#include "dl2/jpeg_header.hpp"
#include "dl2/jpeg_region.hpp"
#include "dl2/record_jpegs.hpp"
#include "dl2/record_reader.hpp"

namespace py = pybind11;
using namespace pybind11::literals;

namespace {

using ReleaseGil = py::call_guard<py::gil_scoped_release>;

// A contiguous buffer of bytes from Python, held while it is used.
class InputBytes {
  public:
    explicit InputBytes(const py::buffer& buffer) : info_(buffer.request()) {
        if (info_.ndim != 1 || info_.itemsize != 1 || (info_.size > 1 && info_.strides[0] != 1)) {
            throw dl2::Error(dl2::ErrorKind::argument, "a contiguous buffer of bytes is needed");
        }
    }
    dl2::Bytes view() const {
        return {static_cast<const std::uint8_t*>(info_.ptr), static_cast<std::size_t>(info_.size)};
    }

  private:
    py::buffer_info info_;
};

template <class T>
py::array_t<T> to_array(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::bytes to_bytes(dl2::Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data), bytes.size};
}

using PythonScan = std::tuple<std::vector<std::uint8_t>, int, int, int, int>;

dl2::ScanScript to_script(const std::vector<PythonScan>& scans) {
    dl2::ScanScript script;
    for (const auto& [components, ss, se, ah, al] : scans) {
        const auto small = [](int value) { return static_cast<std::uint8_t>(value); };
        script.push_back({components, small(ss), small(se), small(ah), small(al)});
    }
    return script;
}

dl2::KeepMetadata to_keep(const std::string& name) {
    if (name == "none") return dl2::KeepMetadata::none;
    if (name == "icc") return dl2::KeepMetadata::icc;
    if (name == "exif") return dl2::KeepMetadata::exif;
    if (name == "all") return dl2::KeepMetadata::all;
    throw dl2::Error(dl2::ErrorKind::argument, "keep must be none, icc, exif or all");
}

dl2::TranscodeOptions to_options(const std::vector<PythonScan>& script, const std::string& keep,
                                 bool keep_damaged, const dl2::Limits& limits) {
    return {to_script(script), to_keep(keep), keep_damaged, limits};
}

class RecordReader {
  public:
    RecordReader(std::string folder, std::size_t keep_buffers)
        : storage_(std::move(folder)), pool_(keep_buffers) {}

    dl2::RecordJpegs read(const std::string& name, std::vector<std::uint64_t> lengths,
                          std::optional<std::uint32_t> metadata_crc32c, std::size_t groups) {
        const dl2::RecordLocation location{name, std::move(lengths), metadata_crc32c};
        return dl2::read_jpegs(storage_, location, groups, pool_);
    }

    py::array_t<std::int32_t> read_labels(const std::string& name,
                                          std::vector<std::uint64_t> lengths,
                                          std::optional<std::uint32_t> metadata_crc32c) {
        dl2::Metadata metadata;
        {
            const py::gil_scoped_release release;
            metadata = dl2::read_metadata(storage_, {name, std::move(lengths), metadata_crc32c});
        }
        return to_array(metadata.labels);
    }

  private:
    dl2::LocalStorage storage_;
    dl2::BufferPool pool_;
};

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
    BatchLoader(std::shared_ptr<const dl2::RecordStore> store, dl2::EpochPlan plan,
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
    void rows(const std::uint8_t* rgbx, std::size_t stride, std::uint32_t count) override {
        for (std::uint32_t row = 0; row < count; ++row, rgbx += stride) {
            for (std::uint32_t x = 0; x < pixels.width; ++x) {
                pixels.samples.insert(pixels.samples.end(), rgbx + 4 * x, rgbx + 4 * x + 3);
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

void bind_errors(py::module_& m) {
    static py::exception<dl2::Error> data_error(m, "DataError", PyExc_ValueError);
    static py::exception<dl2::Error> unsupported_error(m, "UnsupportedError", data_error.ptr());
    static py::exception<dl2::Error> cancelled_error(m, "CancelledError", PyExc_RuntimeError);
    py::register_exception_translator([](std::exception_ptr pointer) {
        try {
            if (pointer) std::rethrow_exception(pointer);
        } catch (const dl2::Error& error) {
            switch (error.kind()) {
                case dl2::ErrorKind::data:
                    py::set_error(data_error, error.what());
                    break;
                case dl2::ErrorKind::unsupported:
                    py::set_error(unsupported_error, error.what());
                    break;
                case dl2::ErrorKind::cancelled:
                    py::set_error(cancelled_error, error.what());
                    break;
                case dl2::ErrorKind::argument:
                    py::set_error(PyExc_ValueError, error.what());
                    break;
                case dl2::ErrorKind::io:
                    PyErr_SetObject(PyExc_OSError,
                                    py::make_tuple(error.code(), error.what()).ptr());
                    break;
            }
        }
    });
}

void bind_jpeg(py::module_& m) {
    py::class_<dl2::Limits>(m, "Limits")
        .def(py::init([](std::uint64_t max_pixels, std::uint64_t max_bytes, std::uint32_t max_scans,
                         std::uint64_t max_scan_pixels) {
                 return dl2::Limits{max_pixels, max_bytes, max_scans, max_scan_pixels};
             }),
             py::kw_only(), "max_pixels"_a = dl2::Limits{}.max_pixels,
             "max_bytes"_a = dl2::Limits{}.max_bytes, "max_scans"_a = dl2::Limits{}.max_scans,
             "max_scan_pixels"_a = dl2::Limits{}.max_scan_pixels)
        .def_readonly("max_pixels", &dl2::Limits::max_pixels)
        .def_readonly("max_bytes", &dl2::Limits::max_bytes)
        .def_readonly("max_scans", &dl2::Limits::max_scans)
        .def_readonly("max_scan_pixels", &dl2::Limits::max_scan_pixels);

    py::class_<dl2::JpegHeader>(m, "JpegHeader")
        .def_readonly("width", &dl2::JpegHeader::width)
        .def_readonly("height", &dl2::JpegHeader::height)
        .def_readonly("precision", &dl2::JpegHeader::precision)
        .def_readonly("frame", &dl2::JpegHeader::frame)
        .def_readonly("orientation", &dl2::JpegHeader::orientation)
        .def_property_readonly("sampling", [](const dl2::JpegHeader& header) {
            std::vector<std::pair<int, int>> sampling;
            for (std::size_t i = 0; i < header.component_count; ++i) {
                sampling.emplace_back(header.components[i].h, header.components[i].v);
            }
            return sampling;
        });

    py::class_<dl2::Transcoded>(m, "Transcoded")
        .def_readonly("width", &dl2::Transcoded::width)
        .def_readonly("height", &dl2::Transcoded::height)
        .def_readonly("orientation", &dl2::Transcoded::orientation)
        .def_readonly("frame", &dl2::Transcoded::frame)
        .def_readonly("damage", &dl2::Transcoded::damage)
        .def_property_readonly("fragments", [](const dl2::Transcoded& image) {
            std::vector<py::bytes> fragments;
            for (std::size_t group = 0; group < image.group_end.size(); ++group) {
                fragments.push_back(to_bytes(image.fragment(group)));
            }
            return fragments;
        });

    py::class_<dl2::Pixels>(m, "Pixels", py::buffer_protocol()).def_buffer([](dl2::Pixels& pixels) {
        const std::vector<py::ssize_t> shape{pixels.height, pixels.width, pixels.channels};
        return py::buffer_info(pixels.samples.data(), sizeof(std::uint8_t),
                               py::format_descriptor<std::uint8_t>::format(), 3, shape,
                               {shape[1] * shape[2], shape[2], py::ssize_t{1}});
    });

    m.def(
        "crc32c",
        [](const py::buffer& data, std::uint32_t crc) {
            const InputBytes input(data);
            const py::gil_scoped_release release;
            return dl2::crc32c(input.view().data, input.view().size, crc);
        },
        "data"_a, "crc"_a = 0);
    m.def("libjpeg_version", &dl2::libjpeg_version);
    m.def(
        "read_jpeg_header",
        [](const py::buffer& jpeg, const dl2::Limits& limits) {
            return dl2::read_jpeg_header(InputBytes(jpeg).view(), limits);
        },
        "jpeg"_a, "limits"_a = dl2::Limits{});
    m.def(
        "find_scans",
        [](const py::buffer& jpeg, std::uint32_t max_scans) {
            return dl2::find_scans(InputBytes(jpeg).view(), max_scans);
        },
        "jpeg"_a, "max_scans"_a = dl2::Limits{}.max_scans);
    m.def(
        "transcode",
        [](const py::buffer& jpeg, const std::vector<PythonScan>& script, const std::string& keep,
           bool keep_damaged, const dl2::Limits& limits) {
            const InputBytes input(jpeg);
            const dl2::TranscodeOptions options = to_options(script, keep, keep_damaged, limits);
            const py::gil_scoped_release release;
            return dl2::Transcoder(options).transcode(input.view());
        },
        "jpeg"_a, "script"_a, py::kw_only(), "keep"_a = "none", "keep_damaged"_a = false,
        "limits"_a = dl2::Limits{});
    m.def(
        "decode",
        [](const std::vector<py::buffer>& fragments, bool whole_file, bool smoothing,
           const dl2::Limits& limits) {
            std::vector<InputBytes> inputs;
            std::vector<dl2::Bytes> views;
            inputs.reserve(fragments.size());
            for (const py::buffer& fragment : fragments) {
                views.push_back(inputs.emplace_back(fragment).view());
            }
            const py::gil_scoped_release release;
            return dl2::decode(views, {whole_file, smoothing, limits});
        },
        "fragments"_a, py::kw_only(), "whole_file"_a = false, "smoothing"_a = false,
        "limits"_a = dl2::Limits{});
    m.def(
        "compare_coefficients",
        [](const py::buffer& left, const py::buffer& right, const dl2::Limits& limits) {
            const InputBytes a(left);
            const InputBytes b(right);
            const py::gil_scoped_release release;
            return dl2::compare_coefficients(a.view(), b.view(), limits);
        },
        "left"_a, "right"_a, "limits"_a = dl2::Limits{});
}

void bind_converter(py::module_& m) {
    py::enum_<dl2::SourceStatus>(m, "SourceStatus")
        .value("pending", dl2::SourceStatus::pending)
        .value("converted", dl2::SourceStatus::converted)
        .value("foreign", dl2::SourceStatus::foreign)
        .value("rejected", dl2::SourceStatus::rejected)
        .value("cancelled", dl2::SourceStatus::cancelled);

    py::class_<dl2::SourceReport>(m, "SourceReport")
        .def_readonly("status", &dl2::SourceReport::status)
        .def_readonly("reason", &dl2::SourceReport::reason)
        .def_readonly("bytes", &dl2::SourceReport::bytes)
        .def_readonly("crc32c", &dl2::SourceReport::crc32c)
        .def_readonly("frame", &dl2::SourceReport::frame)
        .def_readonly("jpeg", &dl2::SourceReport::jpeg)
        .def_readonly("reencoded", &dl2::SourceReport::reencoded);

    py::class_<dl2::RecordEntry>(m, "RecordEntry")
        .def_readonly("lengths", &dl2::RecordEntry::lengths)
        .def_readonly("metadata_crc32c", &dl2::RecordEntry::metadata_crc32c);

    py::class_<dl2::RecordJob, std::shared_ptr<dl2::RecordJob>>(m, "RecordJob")
        .def("__len__", &dl2::RecordJob::size)
        .def_property_readonly("done", &dl2::RecordJob::done)
        .def_property_readonly("source_bytes", &dl2::RecordJob::source_bytes)
        .def("wait", &dl2::RecordJob::wait, "milliseconds"_a, ReleaseGil())
        .def("report", &dl2::RecordJob::report, "index"_a, py::return_value_policy::copy)
        .def(
            "put",
            [](dl2::RecordJob& job, std::size_t index, const py::buffer& jpeg,
               const dl2::Converter& converter) {
                const InputBytes input(jpeg);
                const py::gil_scoped_release release;
                job.put(index, input.view(), converter.options());
            },
            "index"_a, "jpeg"_a, "converter"_a)
        .def("reject", &dl2::RecordJob::reject, "index"_a, "reason"_a)
        .def(
            "write",
            [](dl2::RecordJob& job, const py::bytes& path, std::size_t groups) {
                const std::string native_path = path;
                const py::gil_scoped_release release;
                return job.write(native_path, groups);
            },
            "path"_a, "groups"_a);

    py::class_<dl2::Converter>(m, "Converter")
        .def(py::init([](const std::vector<PythonScan>& script, const std::string& keep,
                         bool keep_damaged, const dl2::Limits& limits, unsigned threads) {
                 return std::make_unique<dl2::Converter>(
                     to_options(script, keep, keep_damaged, limits), threads);
             }),
             py::kw_only(), "script"_a, "keep"_a, "keep_damaged"_a, "limits"_a, "threads"_a)
        .def(
            "submit",
            [](dl2::Converter& converter, const std::vector<py::bytes>& paths,
               std::vector<std::int32_t> labels) {
                std::vector<std::string> native_paths(paths.begin(), paths.end());
                return converter.submit(std::move(native_paths), std::move(labels));
            },
            "paths"_a, "labels"_a)
        .def("cancel", &dl2::Converter::cancel);
}

void bind_reader(py::module_& m) {
    // Whole JPEGs side by side in one buffer, which Python sees through the buffer protocol.
    using dl2::RecordJpegs;
    py::class_<RecordJpegs>(m, "Record", py::buffer_protocol())
        .def_buffer([](RecordJpegs& record) {
            return py::buffer_info(record.buffer->data.get(), sizeof(std::uint8_t),
                                   py::format_descriptor<std::uint8_t>::format(), 1,
                                   {static_cast<py::ssize_t>(record.offsets.back())},
                                   {py::ssize_t{1}}, true);
        })
        .def_readonly("bytes_read", &RecordJpegs::bytes_read)
        .def_property_readonly("offsets",
                               [](const RecordJpegs& record) { return to_array(record.offsets); })
        .def_property_readonly(
            "labels", [](const RecordJpegs& record) { return to_array(record.metadata.labels); })
        .def_property_readonly(
            "widths", [](const RecordJpegs& record) { return to_array(record.metadata.widths); })
        .def_property_readonly(
            "heights", [](const RecordJpegs& record) { return to_array(record.metadata.heights); })
        .def_property_readonly("orientations", [](const RecordJpegs& record) {
            return to_array(record.metadata.orientations);
        });

    py::class_<RecordReader>(m, "RecordReader")
        .def(py::init([](const py::bytes& folder, std::size_t keep_buffers) {
                 return std::make_unique<RecordReader>(folder, keep_buffers);
             }),
             "folder"_a, "keep_buffers"_a = 2)
        .def("read", &RecordReader::read, "name"_a, "lengths"_a, "metadata_crc32c"_a, "groups"_a,
             ReleaseGil())
        .def("read_labels", &RecordReader::read_labels, "name"_a, "lengths"_a, "metadata_crc32c"_a);
}

void bind_loader(py::module_& m) {
    py::class_<dl2::RecordStore, std::shared_ptr<dl2::RecordStore>>(m, "RecordStore")
        .def(py::init([](const py::bytes& folder, const std::vector<std::string>& names,
                         const std::vector<std::vector<std::uint64_t>>& lengths,
                         const std::vector<std::optional<std::uint32_t>>& crc32c,
                         std::size_t keep_buffers) {
                 std::vector<dl2::RecordLocation> records;
                 for (std::size_t i = 0; i < names.size(); ++i) {
                     records.push_back({names[i], lengths.at(i), crc32c.at(i)});
                 }
                 return std::make_shared<dl2::RecordStore>(folder, std::move(records),
                                                           keep_buffers);
             }),
             "folder"_a, "names"_a, "lengths"_a, "crc32c"_a, "keep_buffers"_a);

    py::class_<dl2::BatchResult>(m, "BatchResult")
        .def_property_readonly("kept",
                               [](const dl2::BatchResult& result) { return to_array(result.kept); })
        .def_readonly("bytes_read", &dl2::BatchResult::bytes_read)
        .def_readonly("degraded", &dl2::BatchResult::degraded)
        .def_readonly("damage", &dl2::BatchResult::damage);

    py::class_<dl2::LoaderStatistics>(m, "LoaderStatistics")
        .def_readonly("records", &dl2::LoaderStatistics::records)
        .def_readonly("bytes_read", &dl2::LoaderStatistics::bytes_read)
        .def_readonly("images", &dl2::LoaderStatistics::images)
        .def_readonly("fetch_s", &dl2::LoaderStatistics::fetch_s)
        .def_readonly("decode_s", &dl2::LoaderStatistics::decode_s)
        .def_readonly("record_wait_s", &dl2::LoaderStatistics::record_wait_s)
        .def_readonly("ready_batches", &dl2::LoaderStatistics::ready_batches)
        .def_readonly("ready_records", &dl2::LoaderStatistics::ready_records);

    py::class_<BatchLoader>(m, "BatchLoader")
        .def(py::init([](std::shared_ptr<dl2::RecordStore> store,
                         const Array<std::uint32_t>& visits, const Array<std::uint32_t>& visit,
                         const Array<std::uint32_t>& slot, const Array<std::uint64_t>& sample,
                         std::size_t batch_size, const py::dict& transform, const py::dict& output,
                         std::size_t groups, std::size_t max_records, unsigned decode_threads,
                         unsigned fetch_threads, const std::string& on_damage, bool smoothing,
                         std::uint64_t seed, std::uint64_t epoch) {
                 dl2::LoaderOptions options;
                 options.decode_threads = decode_threads;
                 options.fetch_threads = fetch_threads;
                 options.groups = groups;
                 options.max_records = max_records;
                 options.on_damage = to_policy(on_damage);
                 options.smoothing = smoothing;
                 options.transform = to_transform(transform);
                 options.output = to_output(output);
                 options.seed = seed;
                 options.epoch = epoch;
                 return std::make_unique<BatchLoader>(
                     std::move(store), to_plan(visits, visit, slot, sample, batch_size), options);
             }),
             py::kw_only(), "store"_a, "visits"_a, "visit"_a, "slot"_a, "sample"_a, "batch_size"_a,
             "transform"_a, "output"_a, "groups"_a, "max_records"_a, "decode_threads"_a,
             "fetch_threads"_a, "on_damage"_a, "smoothing"_a, "seed"_a, "epoch"_a)
        .def("give", &BatchLoader::give, "images"_a, "labels"_a)
        .def("wait", &BatchLoader::wait, "milliseconds"_a)
        .def("take", &BatchLoader::take)
        .def("statistics", &BatchLoader::statistics)
        .def("close", &BatchLoader::close);

    m.def("place_samples", &place_samples, "transform"_a, "seed"_a, "epoch"_a, "samples"_a,
          "widths"_a, "heights"_a);
    m.def(
        "decode_region",
        [](const std::vector<py::buffer>& fragments, std::array<std::uint32_t, 4> box,
           bool smoothing) {
            std::vector<InputBytes> inputs;
            std::vector<dl2::Bytes> views;
            inputs.reserve(fragments.size());
            for (const py::buffer& fragment : fragments) {
                views.push_back(inputs.emplace_back(fragment).view());
            }
            const py::gil_scoped_release release;
            dl2::RegionDecoder decoder(views.data(), views.size(), {false, smoothing, {}});
            RegionPixels sink;
            sink.pixels = {box[2], box[3], 3, {}};
            std::vector<std::uint8_t> buffer;
            decoder.decode({box[0], box[1], box[0] + box[2], box[1] + box[3]}, sink, buffer);
            return std::move(sink.pixels);
        },
        "fragments"_a, "box"_a, py::kw_only(), "smoothing"_a = false);
}

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "The native core of dl2: JPEG transcoding, records, conversion.";
    bind_errors(m);
    bind_jpeg(m);
    bind_converter(m);
    bind_reader(m);
    bind_loader(m);
}
