// What the fuzz targets of JPEGs share: the default scan script, and limits that keep them fast.
#pragma once

#include "dl2/io/bytes.hpp"
#include "scripts.hpp"

inline const dl2::ScanScript kScript = dl2_test::default_script();

inline dl2::Limits small_limits() {
    dl2::Limits limits;
    limits.max_pixels = 1 << 18;
    limits.max_scan_pixels = 1 << 22;
    return limits;
}
