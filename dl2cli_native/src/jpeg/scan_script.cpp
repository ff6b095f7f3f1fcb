#include "dl2/jpeg/scan_script.hpp"

#include <algorithm>

namespace dl2 {
namespace {

constexpr std::uint32_t kMaxBlocksInMcu = 10;

std::vector<std::uint8_t> roles(ColorModel model) {
    switch (model) {
        case ColorModel::gray:
            return {0};
        case ColorModel::ycbcr:
            return {0, 1, 2};
        case ColorModel::rgb:
            return {0, 0, 0};
        case ColorModel::cmyk:
            return {0, 0, 0, 0};
        case ColorModel::ycck:
            return {0, 1, 2, 0};
    }
    return {};
}

// Adds a scan; the first one of its coefficients as several scans, if it leaves bits to them.
void push(std::vector<ImageScan>& plan, ImageScan image_scan, std::uint8_t extra_bits) {
    Scan& scan = image_scan.scan;
    const std::uint8_t last = scan.al;
    if (scan.ah == 0) scan.al = static_cast<std::uint8_t>(scan.al + extra_bits);
    plan.push_back(image_scan);
    while (scan.al > last) {
        scan.ah = scan.al--;
        plan.push_back(image_scan);
    }
}

}  // namespace

std::size_t count_groups(const ScanScript& script) {
    std::size_t groups = 0;
    for (const Scan& scan : script) groups += scan.joins && groups > 0 ? 0 : 1;
    return groups;
}

std::vector<ImageScan> plan_scans(const ScanScript& script, ColorModel model,
                                  const std::array<std::uint8_t, 4>& h,
                                  const std::array<std::uint8_t, 4>& v, std::uint8_t extra_bits) {
    const std::vector<std::uint8_t> role = roles(model);
    std::vector<ImageScan> plan;
    std::uint32_t group = 0;
    for (const Scan& wanted : script) {
        if (!wanted.joins && &wanted != script.data()) ++group;
        ImageScan image_scan{wanted, group};
        std::vector<std::uint8_t>& own = image_scan.scan.components;
        own.clear();
        std::uint32_t blocks = 0;
        for (std::uint8_t i = 0; i < role.size(); ++i) {
            const auto& listed = wanted.components;
            if (std::find(listed.begin(), listed.end(), role[i]) == listed.end()) continue;
            own.push_back(i);
            blocks += std::uint32_t{h[i]} * v[i];
        }
        if (own.empty()) continue;
        const bool interleaved = wanted.ss == 0 && (own.size() == 1 || blocks <= kMaxBlocksInMcu);
        if (interleaved) {
            push(plan, image_scan, extra_bits);
            continue;
        }
        // AC scans have one component each (T.81, G.1.1.1.1).
        for (const std::uint8_t component : std::vector<std::uint8_t>(own)) {
            own.assign(1, component);
            push(plan, image_scan, extra_bits);
        }
    }
    return plan;
}

}  // namespace dl2
