// Reading files and records, for Python.
#include <optional>

#include <pybind11/stl.h>

#include "bindings.hpp"
#include "dl2/io/file.hpp"
#include "dl2/io/throttle.hpp"
#include "dl2/record/jpegs.hpp"
#include "dl2/record/record.hpp"
#include "dl2/record/record_reader.hpp"

using namespace pybind11::literals;

namespace dl2_python {

void bind_reader(py::module_& m) {
    m.def(
        "read_file",
        [](const py::bytes& path, std::uint64_t max_bytes) {
            const std::string native_path = path;
            std::vector<std::uint8_t> content;
            {
                const py::gil_scoped_release release;
                dl2::read_file(native_path, max_bytes, content);
            }
            return to_bytes(content);
        },
        "path"_a, "max_bytes"_a);

    py::class_<dl2::Throttle, std::shared_ptr<dl2::Throttle>>(m, "Throttle")
        .def(py::init([](double bytes_per_s, double latency_s) {
                 return std::make_shared<dl2::Throttle>(
                     dl2::ThrottleOptions{bytes_per_s, latency_s});
             }),
             "bytes_per_s"_a, "latency_s"_a)
        .def_property_readonly("bytes", &dl2::Throttle::bytes)
        .def_property_readonly("ranges", &dl2::Throttle::ranges);

    m.def(
        "record_checksums",
        [](const py::buffer& metadata) {
            return dl2::parse_metadata(InputBytes(metadata).view()).group_crc32c;
        },
        "metadata"_a);

    m.def(
        "cut_metadata",
        [](const py::buffer& metadata, std::uint32_t groups) {
            dl2::Metadata cut = dl2::parse_metadata(InputBytes(metadata).view());
            if (groups == 0 || groups > cut.groups || cut.format_version == 0) {
                throw dl2::Error(dl2::ErrorKind::argument, "no such number of scan groups");
            }
            cut.groups = groups;
            cut.group_bytes.resize(groups);
            cut.group_crc32c.resize(groups);
            cut.fragment_bytes.resize(groups * cut.labels.size());
            return to_bytes(dl2::serialize_metadata(cut));
        },
        "metadata"_a, "groups"_a);

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

    using dl2::RecordReader;
    py::class_<RecordReader>(m, "RecordReader")
        .def(py::init([](const py::object& place, std::size_t keep_buffers,
                         std::shared_ptr<dl2::Throttle> throttle) {
                 return std::make_unique<RecordReader>(to_storage(place), keep_buffers,
                                                       std::move(throttle));
             }),
             "place"_a, "keep_buffers"_a = 2, "throttle"_a = nullptr)
        .def("release_throttle", &RecordReader::release_throttle)
        .def(
            "read",
            [](RecordReader& reader, const std::string& name, std::vector<std::uint64_t> lengths,
               std::optional<std::uint32_t> metadata_crc32c, std::size_t scans) {
                return reader.read({name, std::move(lengths), metadata_crc32c}, scans);
            },
            "name"_a, "lengths"_a, "metadata_crc32c"_a, "scans"_a, ReleaseGil())
        .def(
            "read_labels",
            [](RecordReader& reader, const std::string& name, std::vector<std::uint64_t> lengths,
               std::optional<std::uint32_t> metadata_crc32c) {
                std::vector<std::int32_t> labels;
                {
                    const py::gil_scoped_release release;
                    labels = reader.read_labels({name, std::move(lengths), metadata_crc32c});
                }
                return to_array(labels);
            },
            "name"_a, "lengths"_a, "metadata_crc32c"_a)
        .def(
            "read_orientations",
            [](RecordReader& reader, const std::string& name, std::vector<std::uint64_t> lengths,
               std::optional<std::uint32_t> metadata_crc32c) {
                std::vector<std::uint8_t> orientations;
                {
                    const py::gil_scoped_release release;
                    orientations =
                        reader.read_orientations({name, std::move(lengths), metadata_crc32c});
                }
                return to_array(orientations);
            },
            "name"_a, "lengths"_a, "metadata_crc32c"_a);
}

}  // namespace dl2_python
