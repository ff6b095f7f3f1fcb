// The Python face of what a search for scan scripts measures.

#include "bindings.hpp"

#include <memory>

#include <pybind11/stl.h>

#include "bindings_script.hpp"
#include "dl2/scripts/trial_image.hpp"

using namespace pybind11::literals;

namespace dl2_python {
namespace {

using States = py::array_t<std::uint8_t, py::array::c_style | py::array::forcecast>;

dl2::KnownBits to_known(const std::uint8_t* values) {
    dl2::KnownBits known;
    for (auto& role : known) {
        for (std::uint8_t& bit : role) bit = *values++;
    }
    return known;
}

std::vector<dl2::KnownBits> to_states(const States& states) {
    if (states.ndim() != 3 || states.shape(1) != py::ssize_t{dl2::kRoles} ||
        states.shape(2) != py::ssize_t{dl2::kBandSize}) {
        throw dl2::Error(dl2::ErrorKind::argument, "states must have the shape (n, 3, 64)");
    }
    std::vector<dl2::KnownBits> result;
    for (py::ssize_t i = 0; i < states.shape(0); ++i) {
        result.push_back(to_known(states.data(i, 0, 0)));
    }
    return result;
}

// float64 (n, 3): mean squared error, SSIM, MS-SSIM.
py::array_t<double> compare(const dl2::TrialImage& image, const States& states, std::uint32_t size,
                            std::uint32_t resize_short, bool structure) {
    const std::vector<dl2::KnownBits> known = to_states(states);
    std::vector<dl2::Similarity> found;
    {
        const py::gil_scoped_release release;
        found = image.compare(known, size, resize_short, structure);
    }
    py::array_t<double> result({static_cast<py::ssize_t>(found.size()), py::ssize_t{3}});
    double* out = result.mutable_data();
    for (const dl2::Similarity& each : found) {
        *out++ = each.squared_error;
        *out++ = each.ssim;
        *out++ = each.ms_ssim;
    }
    return result;
}

// uint8 (channels, height, width).
py::array_t<std::uint8_t> show(const dl2::TrialImage& image, const States& states,
                               std::uint32_t size, std::uint32_t resize_short) {
    const std::vector<dl2::KnownBits> known = to_states(states);
    if (known.size() != 1) throw dl2::Error(dl2::ErrorKind::argument, "one state must be given");
    dl2::PlanarImage shown;
    {
        const py::gil_scoped_release release;
        shown = image.show(known[0], size, resize_short);
    }
    const std::vector<py::ssize_t> shape{shown.channels, shown.height, shown.width};
    return py::array_t<std::uint8_t>(shape, shown.samples.data());
}

// float64 (3, 64, 12).
py::array_t<double> errors(const dl2::TrialImage& image, std::uint32_t resize_short) {
    dl2::ErrorTable table;
    {
        const py::gil_scoped_release release;
        table = image.errors(resize_short);
    }
    const std::vector<py::ssize_t> shape{py::ssize_t{dl2::kRoles}, py::ssize_t{dl2::kBandSize},
                                         py::ssize_t{dl2::kBitPositions}};
    return py::array_t<double>(shape, table[0][0].data());
}

dl2::PlanarImage to_image(const States& pixels) {
    if (pixels.ndim() != 3) {
        throw dl2::Error(dl2::ErrorKind::argument, "pixels must be (channels, height, width)");
    }
    const auto side = [&](int axis) { return static_cast<std::uint32_t>(pixels.shape(axis)); };
    return {side(2), side(1), side(0), {pixels.data(), pixels.data() + pixels.size()}};
}

py::tuple compare_pixels(const States& a, const States& b) {
    const dl2::PlanarImage left = to_image(a);
    const dl2::PlanarImage right = to_image(b);
    dl2::Similarity found;
    {
        const py::gil_scoped_release release;
        found = dl2::compare(left, right);
    }
    return py::make_tuple(found.squared_error, found.ssim, found.ms_ssim);
}

}  // namespace

void bind_scripts(py::module_& m) {
    m.def("compare_pixels", &compare_pixels, "a"_a, "b"_a);
    py::class_<dl2::TrialImage>(m, "TrialImage")
        .def(py::init([](const py::buffer& jpeg, const dl2::Limits& limits) {
                 const InputBytes input(jpeg);
                 const py::gil_scoped_release release;
                 return std::make_unique<dl2::TrialImage>(input.view(), limits);
             }),
             "jpeg"_a, "limits"_a = dl2::Limits{})
        .def_property_readonly("width", &dl2::TrialImage::width)
        .def_property_readonly("height", &dl2::TrialImage::height)
        .def_property_readonly("components", &dl2::TrialImage::components)
        .def_property_readonly("blocks",
                               [](const dl2::TrialImage& image) {
                                   return py::make_tuple(image.blocks(0), image.blocks(1),
                                                         image.blocks(2));
                               })
        .def_property_readonly("memory_bytes", &dl2::TrialImage::memory_bytes)
        .def_property_readonly("header_bytes", &dl2::TrialImage::header_bytes)
        .def(
            "scan_bytes",
            [](const dl2::TrialImage& image, const std::vector<PythonScan>& lines) {
                const dl2::ScanScript script = to_script(lines);
                const py::gil_scoped_release release;
                return image.scan_bytes(script);
            },
            "lines"_a)
        .def("errors", &errors, "resize_short"_a = 0)
        .def("compare", &compare, "states"_a, "size"_a = 0, "resize_short"_a = 0,
             "structure"_a = true)
        .def("show", &show, "states"_a, "size"_a = 0, "resize_short"_a = 0);
}

}  // namespace dl2_python
