// What the files of the Python face share: byte buffers from Python, arrays and bytes to it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "dl2/error.hpp"
#include "dl2/io/bytes.hpp"
#include "dl2/io/storage.hpp"

namespace dl2_python {

namespace py = pybind11;

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

inline py::bytes to_bytes(dl2::Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data), bytes.size};
}

// Text that may hold names of files, which are any bytes: as `os.fsdecode` gives it.
inline py::str to_text(const std::string& text) {
    PyObject* decoded =
        PyUnicode_DecodeFSDefaultAndSize(text.data(), static_cast<py::ssize_t>(text.size()));
    if (decoded == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::str>(decoded);
}

// What reads the records at a place: a folder's path as bytes, or an object of `dl2cli.stores`.
std::shared_ptr<const dl2::Storage> to_storage(const py::object& place);

// Registers the reading of files and records (bindings_reader.cpp).
void bind_reader(py::module_& m);

// Registers batch loading (bindings_loader.cpp).
void bind_loader(py::module_& m);

// Registers what a search for scan scripts measures (bindings_scripts.cpp).
void bind_scripts(py::module_& m);

// Registers how threads are looked at (bindings_watching.cpp).
void bind_watching(py::module_& m);

}  // namespace dl2_python
