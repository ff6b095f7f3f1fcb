// A scan script as Python gives it.
#pragma once

#include <cstdint>
#include <tuple>
#include <variant>
#include <vector>

#include "dl2/error.hpp"
#include "dl2/jpeg/scan_script.hpp"

namespace dl2_python {

// Components, Ss, Se, Ah, Al, and whether the scan joins the group of the one before it; a scan
// without the last begins a group.
using PythonScan = std::variant<std::tuple<std::vector<std::uint8_t>, int, int, int, int, bool>,
                                std::tuple<std::vector<std::uint8_t>, int, int, int, int>>;

inline dl2::Scan to_scan(const std::tuple<std::vector<std::uint8_t>, int, int, int, int>& scan) {
    const auto& [components, ss, se, ah, al] = scan;
    const auto small = [](int value) {
        if (value < 0 || value > 255) {
            throw dl2::Error(dl2::ErrorKind::argument, "a number of a scan is out of range");
        }
        return static_cast<std::uint8_t>(value);
    };
    return {components, small(ss), small(se), small(ah), small(al), false};
}

inline dl2::ScanScript to_script(const std::vector<PythonScan>& scans) {
    dl2::ScanScript script;
    for (const PythonScan& scan : scans) {
        if (std::holds_alternative<std::tuple<std::vector<std::uint8_t>, int, int, int, int>>(
                scan)) {
            script.push_back(to_scan(std::get<1>(scan)));
            continue;
        }
        const auto& [components, ss, se, ah, al, joins] = std::get<0>(scan);
        script.push_back(to_scan({components, ss, se, ah, al}));
        script.back().joins = joins;
    }
    return script;
}

}  // namespace dl2_python
