// What the fuzz targets of JPEGs share: the default scan script, and limits that keep them fast.
#pragma once

#include "dl2/io/bytes.hpp"
#include "dl2/jpeg/scan_script.hpp"

inline const dl2::ScanScript kScript = {
    {{0, 1, 2}, 0, 0, 0, 1}, {{0}, 1, 5, 0, 2},  {{2}, 1, 63, 0, 1},      {{1}, 1, 63, 0, 1},
    {{0}, 6, 63, 0, 2},      {{0}, 1, 63, 2, 1}, {{0, 1, 2}, 0, 0, 1, 0}, {{2}, 1, 63, 1, 0},
    {{1}, 1, 63, 1, 0},      {{0}, 1, 63, 1, 0}};

inline dl2::Limits small_limits() {
    dl2::Limits limits;
    limits.max_pixels = 1 << 18;
    limits.max_scan_pixels = 1 << 22;
    return limits;
}
