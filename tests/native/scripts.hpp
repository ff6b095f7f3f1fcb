// The default scan script, in the native core's terms.
#pragma once

#include "dl2/jpeg/codec.hpp"
#include "dl2/jpeg/scan_script.hpp"

namespace dl2_test {

inline dl2::ScanScript default_script() {
    return {{{0, 1, 2}, 0, 0, 0, 1}, {{0}, 1, 5, 0, 2},  {{2}, 1, 63, 0, 1},
            {{1}, 1, 63, 0, 1},      {{0}, 6, 63, 0, 2}, {{0}, 1, 63, 2, 1},
            {{0, 1, 2}, 0, 0, 1, 0}, {{2}, 1, 63, 1, 0}, {{1}, 1, 63, 1, 0},
            {{0}, 1, 63, 1, 0}};
}

// Its conversion, with nothing kept and the usual limits.
inline dl2::TranscodeOptions default_options() {
    return {default_script(), {}, false, {}};
}

}  // namespace dl2_test
