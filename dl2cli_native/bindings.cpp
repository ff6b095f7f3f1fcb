// The Python face of the native core; only the bindings know pybind11. Every call that reads files
// or touches pixels releases the GIL.

#include "bindings.hpp"

#include <atomic>
#include <memory>
#include <optional>

#include <pybind11/stl.h>

#include "bindings_script.hpp"
#include "dl2/io/crc32c.hpp"
#include "dl2/io/file.hpp"
#include "dl2/io/throttle.hpp"
#include "dl2/jpeg/codec.hpp"
#include "dl2/jpeg/header.hpp"
#include "dl2/record/converter.hpp"
#include "dl2/record/jpegs.hpp"

using namespace pybind11::literals;
using namespace dl2_python;

namespace {

dl2::KeepMetadata to_keep(const std::string& name) {
    if (name == "none") return dl2::KeepMetadata::none;
    if (name == "icc") return dl2::KeepMetadata::icc;
    if (name == "exif") return dl2::KeepMetadata::exif;
    if (name == "all") return dl2::KeepMetadata::all;
    throw dl2::Error(dl2::ErrorKind::argument, "keep must be none, icc, exif or all");
}

dl2::TranscodeOptions to_options(const std::vector<PythonScan>& script, const std::string& keep,
                                 bool keep_damaged, const dl2::Limits& limits,
                                 const std::string& codec) {
    return {to_script(script), to_keep(keep), keep_damaged, limits, dl2::codec_of_name(codec)};
}

void bind_errors(py::module_& m) {
    m.def("is_file_fault", &dl2::is_file_fault, "code"_a);
    static py::exception<dl2::Error> data_error(m, "DataError", PyExc_ValueError);
    static py::exception<dl2::Error> unsupported_error(m, "UnsupportedError", data_error.ptr());
    static py::exception<dl2::Error> cancelled_error(m, "CancelledError", PyExc_RuntimeError);
    py::register_exception_translator([](std::exception_ptr pointer) {
        try {
            if (pointer) std::rethrow_exception(pointer);
        } catch (const dl2::Error& error) {
            switch (error.kind()) {
                case dl2::ErrorKind::data:
                    PyErr_SetObject(data_error.ptr(), to_text(error.what()).ptr());
                    break;
                case dl2::ErrorKind::unsupported:
                    PyErr_SetObject(unsupported_error.ptr(), to_text(error.what()).ptr());
                    break;
                case dl2::ErrorKind::cancelled:
                    py::set_error(cancelled_error, error.what());
                    break;
                case dl2::ErrorKind::argument:
                    py::set_error(PyExc_ValueError, error.what());
                    break;
                case dl2::ErrorKind::io:
                    PyErr_SetObject(PyExc_OSError,
                                    py::make_tuple(error.code(), to_text(error.what())).ptr());
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
        .def_readonly("max_scan_pixels", &dl2::Limits::max_scan_pixels)
        .def(py::pickle(
            [](const dl2::Limits& limits) {
                return py::make_tuple(limits.max_pixels, limits.max_bytes, limits.max_scans,
                                      limits.max_scan_pixels);
            },
            [](const py::tuple& state) {
                return dl2::Limits{state[0].cast<std::uint64_t>(), state[1].cast<std::uint64_t>(),
                                   state[2].cast<std::uint32_t>(), state[3].cast<std::uint64_t>()};
            }));

    py::class_<dl2::JpegHeader>(m, "JpegHeader")
        .def_readonly("width", &dl2::JpegHeader::width)
        .def_readonly("height", &dl2::JpegHeader::height)
        .def_readonly("precision", &dl2::JpegHeader::precision)
        .def_readonly("frame", &dl2::JpegHeader::frame)
        .def_readonly("orientation", &dl2::JpegHeader::orientation)
        .def_property_readonly("sampling",
                               [](const dl2::JpegHeader& header) {
                                   std::vector<std::pair<int, int>> sampling;
                                   for (std::size_t i = 0; i < header.component_count; ++i) {
                                       sampling.emplace_back(header.components[i].h,
                                                             header.components[i].v);
                                   }
                                   return sampling;
                               })
        .def_property_readonly("quant_tables",
                               [](const dl2::JpegHeader& header) {
                                   py::dict tables;
                                   for (std::size_t i = 0; i < header.quant_tables.size(); ++i) {
                                       const dl2::QuantTable& table = header.quant_tables[i];
                                       if (table.defined)
                                           tables[py::int_(i)] = py::tuple(py::cast(table.steps));
                                   }
                                   return tables;
                               })
        .def_property_readonly("lossless", &dl2::JpegHeader::lossless)
        .def_property_readonly("arithmetic", &dl2::JpegHeader::arithmetic)
        .def_property_readonly("progressive", &dl2::JpegHeader::progressive)
        .def_readonly("icc", &dl2::JpegHeader::icc)
        .def_property_readonly("exif_span", [](const dl2::JpegHeader& header) {
            return std::make_pair(header.exif_begin, header.exif_end);
        });

    py::class_<dl2::JpegScans>(m, "JpegScans")
        .def_readonly("count", &dl2::JpegScans::count)
        .def_readonly("ended", &dl2::JpegScans::ended)
        .def_readonly("trailing_bytes", &dl2::JpegScans::trailing_bytes);

    py::class_<dl2::Transcoded>(m, "Transcoded")
        .def_readonly("width", &dl2::Transcoded::width)
        .def_readonly("height", &dl2::Transcoded::height)
        .def_readonly("orientation", &dl2::Transcoded::orientation)
        .def_readonly("frame", &dl2::Transcoded::frame)
        .def_readonly("damage", &dl2::Transcoded::damage)
        .def_readonly("declined", &dl2::Transcoded::declined)
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
    m.def("codec_instruction_set", &dl2::codec_instruction_set);
    m.def("native_codec_decodes", &dl2::native_codec_decodes);
    m.def("codec_instruction_sets", &dl2::codec_instruction_sets);
    m.def("use_codec_instruction_set", &dl2::use_codec_instruction_set, "name"_a);
    m.def(
        "read_jpeg_header",
        [](const py::buffer& jpeg, const dl2::Limits& limits) {
            return dl2::read_jpeg_header(InputBytes(jpeg).view(), limits);
        },
        "jpeg"_a, "limits"_a = dl2::Limits{});
    m.def(
        "peek_jpeg_header",
        [](const py::buffer& beginning) {
            return dl2::peek_jpeg_header(InputBytes(beginning).view());
        },
        "beginning"_a);
    m.def(
        "read_icc_profile",
        [](const py::buffer& jpeg) {
            return to_bytes(dl2::read_icc_profile(InputBytes(jpeg).view()));
        },
        "jpeg"_a);
    m.def(
        "survey_scans",
        [](const py::buffer& jpeg) {
            const InputBytes input(jpeg);
            const py::gil_scoped_release release;
            return dl2::survey_scans(input.view());
        },
        "jpeg"_a);
    m.def(
        "find_scans",
        [](const py::buffer& jpeg, std::uint32_t max_scans) {
            return dl2::find_scans(InputBytes(jpeg).view(), max_scans);
        },
        "jpeg"_a, "max_scans"_a = dl2::Limits{}.max_scans);
    py::class_<dl2::Transcoder>(m, "Transcoder")
        .def(py::init([](const std::vector<PythonScan>& script, const std::string& keep,
                         bool keep_damaged, const dl2::Limits& limits, const std::string& codec) {
                 return std::make_unique<dl2::Transcoder>(
                     to_options(script, keep, keep_damaged, limits, codec));
             }),
             "script"_a, py::kw_only(), "keep"_a = "none", "keep_damaged"_a = false,
             "limits"_a = dl2::Limits{}, "codec"_a = "native")
        .def(
            "transcode",
            [](dl2::Transcoder& transcoder, const py::buffer& jpeg) {
                const InputBytes input(jpeg);
                const py::gil_scoped_release release;
                return transcoder.transcode(input.view());
            },
            "jpeg"_a);
    m.def(
        "transcode",
        [](const py::buffer& jpeg, const std::vector<PythonScan>& script, const std::string& keep,
           bool keep_damaged, const dl2::Limits& limits, const std::string& codec) {
            const InputBytes input(jpeg);
            const dl2::TranscodeOptions options =
                to_options(script, keep, keep_damaged, limits, codec);
            const py::gil_scoped_release release;
            return dl2::Transcoder(options).transcode(input.view());
        },
        "jpeg"_a, "script"_a, py::kw_only(), "keep"_a = "none", "keep_damaged"_a = false,
        "limits"_a = dl2::Limits{}, "codec"_a = "native");
    m.def(
        "decode",
        [](const std::vector<py::buffer>& fragments, bool whole_file, bool smoothing,
           const dl2::Limits& limits, const std::string& codec) {
            std::vector<InputBytes> inputs;
            std::vector<dl2::Bytes> views;
            inputs.reserve(fragments.size());
            for (const py::buffer& fragment : fragments) {
                views.push_back(inputs.emplace_back(fragment).view());
            }
            const py::gil_scoped_release release;
            return dl2::decode(views, {whole_file, smoothing, limits, dl2::codec_of_name(codec)});
        },
        "fragments"_a, py::kw_only(), "whole_file"_a = false, "smoothing"_a = false,
        "limits"_a = dl2::Limits{}, "codec"_a = "native");
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
        .value("failed", dl2::SourceStatus::failed)
        .value("cancelled", dl2::SourceStatus::cancelled);

    py::class_<dl2::SourceReport>(m, "SourceReport")
        .def_readonly("status", &dl2::SourceReport::status)
        .def_readonly("reason", &dl2::SourceReport::reason)
        .def_readonly("code", &dl2::SourceReport::code)
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
        .def_property_readonly("failed", &dl2::RecordJob::failed)
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
                         bool keep_damaged, const dl2::Limits& limits, unsigned threads,
                         const std::string& codec) {
                 return std::make_unique<dl2::Converter>(
                     to_options(script, keep, keep_damaged, limits, codec), threads);
             }),
             py::kw_only(), "script"_a, "keep"_a, "keep_damaged"_a, "limits"_a, "threads"_a,
             "codec"_a = "native")
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

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "The native core of dl2: JPEG transcoding, records, conversion.";
    bind_errors(m);
    bind_jpeg(m);
    bind_converter(m);
    bind_reader(m);
    bind_loader(m);
    bind_scripts(m);
    bind_watching(m);
}
