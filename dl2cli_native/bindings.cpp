#include <pybind11/pybind11.h>

#include "dl2/crc32c.hpp"

namespace py = pybind11;

PYBIND11_MODULE(_core, m) {
    m.doc() = "The native core of dl2.";
}
