#include "codec/decode/scans.hpp"

#include <algorithm>
#include <cstring>

#include "codec/decode/ac_scans.hpp"
#include "codec/decode/mcu_scans.hpp"
#include "codec/decode/read_coefficients.hpp"
#include "codec/decode/scratch.hpp"

namespace dl2::codec {
namespace {

// The pixel kernels work on up to four blocks at a time.
constexpr std::size_t kSpareBlocks = 4;

struct Needs {
    bool ac[kMaxComponents] = {};
    bool refined[kMaxComponents] = {};
    std::size_t scan_bytes = 0;  // of the longest
};

Needs find_needs(const ParsedJpeg& jpeg) {
    Needs needs;
    for (const ScanHeader& scan : jpeg.scans) {
        needs.scan_bytes = std::max(needs.scan_bytes, scan.data.size);
        for (std::uint32_t i = 0; i < scan.component_count; ++i) {
            const std::uint8_t component = scan.components[i];
            if (!jpeg.progressive || scan.ss != 0) needs.ac[component] = true;
            if (scan.ss != 0 && scan.ah != 0) needs.refined[component] = true;
        }
    }
    return needs;
}

std::size_t block_count(const DecodedPlane& plane, const Component& component) {
    return std::size_t{component.blocks_x} * plane.block_rows;
}

// Memory is laid out for whole images, however much of them is decoded: an address costs nothing,
// and the next crop of an image as large finds it there.
std::size_t room_for_blocks(const Component& component) {
    return component.block_count() + kSpareBlocks;
}

void lay_out_blocks(Layout& layout, const Needs& needs, ParsedJpeg& jpeg) {
    for (std::uint32_t i = 0; i < jpeg.frame.component_count; ++i) {
        Component& component = jpeg.frame.components[i];
        const std::size_t count = room_for_blocks(component);
        component.blocks = layout.array<Coefficient>(needs.ac[i] ? count * kBlockSize : 0);
    }
}

void lay_out_scratch(Layout& layout, const Needs& needs, DecodeContext& context) {
    Scratch& scratch = context.scratch;
    const Coefficients& frame = context.jpeg.frame;
    for (std::uint32_t i = 0; i < frame.component_count; ++i) {
        const Component& component = frame.components[i];
        DecodedPlane& plane = context.scans.planes[i];
        if (context.jpeg.progressive) {
            plane.dc_stride = std::size_t{frame.mcus_x} * component.h;
            const std::size_t rows = std::size_t{frame.mcus_y} * component.v;
            plane.dc = layout.array<Coefficient>(plane.dc_stride * rows);
        }
        if (!needs.refined[i]) continue;
        const std::size_t count = room_for_blocks(component);
        scratch.nonzero[i] = layout.array<std::uint64_t>(count);
        for (MaskArrays& masks : scratch.masks[i]) {
            masks.fresh = layout.array<std::uint64_t>(count);
            masks.negative = layout.array<std::uint64_t>(count);
            masks.corrected = layout.array<std::uint64_t>(count);
        }
    }
    for (std::uint8_t*& buffer : scratch.bytes) {
        buffer = layout.array<std::uint8_t>(needs.scan_bytes + kPadding);
    }
    scratch.dc_tables = layout.array<DcTable>(kMaxComponents);
    scratch.first_tables = layout.array<FirstTable>(kMaxComponents);
    scratch.refine_tables = layout.array<RefineTable>(kLanes);
    scratch.spare_block = layout.array<Coefficient>(kBlockSize);
}

// Sequential scans write every block whole, progressive ones what is not zero.
void zero_blocks(const ParsedJpeg& jpeg, const DecodedScans& scans) {
    for (std::uint32_t i = 0; i < jpeg.frame.component_count; ++i) {
        const DecodedPlane& plane = scans.planes[i];
        if (!plane.has_ac) continue;
        const std::size_t count = block_count(plane, jpeg.frame.components[i]);
        const std::size_t first = jpeg.progressive ? 0 : count;
        std::memset(jpeg.frame.components[i].blocks + first * kBlockSize, 0,
                    (count + kSpareBlocks - first) * kBlockSize * sizeof(Coefficient));
    }
}

Declined decode_all(const DecodeContext& context) {
    for (const ScanHeader& scan : context.jpeg.scans) {
        if (scan.ss != 0) continue;
        if (const Declined reason = decode_mcus(context, scan)) return reason;
    }
    return context.jpeg.progressive ? decode_ac_scans(context) : nullptr;
}

}  // namespace

void DecodedPlane::refined_from(std::size_t first, RefinedBits (&out)[kPendingScans]) const {
    for (std::size_t i = 0; i < pending; ++i) {
        out[i] = {refined[i].fresh + first, refined[i].negative + first,
                  refined[i].corrected + first, refined[i].al};
    }
}

Declined decode_scans(ParsedJpeg& jpeg, std::uint32_t mcu_rows, DcCheck check, ReaderMemory& memory,
                      DecodedScans& scans) {
    scans = DecodedScans();
    Needs needs = find_needs(jpeg);
    // Who wants coefficients gets blocks, also where DC coefficients are all that is known.
    if (check == DcCheck::storage) std::fill(std::begin(needs.ac), std::end(needs.ac), true);
    for (std::uint32_t i = 0; i < jpeg.frame.component_count; ++i) {
        const Component& component = jpeg.frame.components[i];
        scans.planes[i].block_rows = std::min(component.blocks_y, mcu_rows * component.v);
        scans.planes[i].has_ac = needs.ac[i];
    }
    DecodeContext context{jpeg, mcu_rows, check, entropy_kernels(), {}, scans};
    Layout sizes;
    lay_out_blocks(sizes, needs, jpeg);
    Layout blocks(memory.coefficients.take(sizes.used()));
    lay_out_blocks(blocks, needs, jpeg);
    sizes = Layout();
    lay_out_scratch(sizes, needs, context);
    Layout scratch(memory.scratch.take(sizes.used()));
    lay_out_scratch(scratch, needs, context);
    zero_blocks(jpeg, scans);
    return decode_all(context);
}

Declined read_coefficients(ParsedJpeg& jpeg, ReaderMemory& memory) {
    DecodedScans scans;
    const std::uint32_t rows = jpeg.frame.mcus_y;
    if (const Declined reason = decode_scans(jpeg, rows, DcCheck::storage, memory, scans)) {
        return reason;
    }
    return finish_blocks(jpeg, scans);
}

}  // namespace dl2::codec
