#include "dl2/error.hpp"
#include "dl2/jpeg/header.hpp"
#include "jpeg/marker_walk.hpp"

namespace dl2 {

std::vector<std::size_t> find_scans(Bytes jpeg, std::uint32_t max_scans) {
    if (!looks_like_jpeg(jpeg)) damaged("not a JPEG file");
    std::vector<std::size_t> offsets{0};
    MarkerWalk walk(jpeg, 2);
    while (true) {
        const Segment segment = walk.next();
        if (segment.marker == kEoi) break;
        if (segment.marker != kSos) continue;
        if (offsets.size() > max_scans) {
            damaged("more than " + std::to_string(max_scans) + " scans");
        }
        walk.skip_entropy_coded();
        offsets.push_back(walk.position());
    }
    if (offsets.size() == 1) damaged("no image data before the end marker");
    return offsets;
}

JpegScans survey_scans(Bytes jpeg) {
    JpegScans scans;
    MarkerWalk walk(jpeg, 2);
    try {
        while (true) {
            const Segment segment = walk.next();
            if (segment.marker == kEoi) {
                scans.ended = true;
                scans.trailing_bytes = jpeg.size - segment.end;
                return scans;
            }
            if (segment.marker != kSos) continue;
            ++scans.count;
            walk.skip_entropy_coded();
        }
    } catch (const Error&) {
        return scans;
    }
}

}  // namespace dl2
