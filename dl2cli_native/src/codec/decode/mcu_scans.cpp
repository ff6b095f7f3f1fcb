#include "codec/decode/mcu_scans.hpp"

#include <algorithm>

#include "codec/decode/segments.hpp"
#include "codec/decode/tables.hpp"

namespace dl2::codec {
namespace {

// The largest DC coefficient that the first pass of the inverse DCT can scale by four within 16
// bits. libjpeg's vector code and its C code differ beyond it; samples of 8 bits need a quarter.
constexpr std::uint32_t kMaxDcForPixels = 8191;

std::uint32_t dc_limit(const Component& component, DcCheck check, std::uint32_t al) {
    std::uint32_t limit = 32767;
    if (check == DcCheck::pixels && component.quant[0] != 0) {
        limit = kMaxDcForPixels / component.quant[0];
    }
    const std::uint32_t refinement = (1u << al) - 1;  // what later scans may add
    return limit > refinement ? limit - refinement : 0;
}

// Decodes one scan, a part of a row of MCUs at a time.
class McuScan {
  public:
    McuScan(const DecodeContext& context, const ScanHeader& scan)
        : context_(context),
          scan_(scan),
          segments_(scan, context.kernels, context.scratch.bytes[0]) {
        const Coefficients& frame = context.jpeg.frame;
        const Component& only = frame.components[scan.components[0]];
        per_row_ = scan.interleaved() ? frame.mcus_x : only.blocks_x;
        rows_ = scan.interleaved() ? context.mcu_rows
                                   : context.scans.planes[scan.components[0]].block_rows;
        all_rows_ = scan.interleaved() ? frame.mcus_y : only.blocks_y;
        set_up_blocks();
        if (!context.jpeg.progressive) {
            kernel_ = context.kernels.sequential;
        } else {
            kernel_ = scan.ah == 0 ? context.kernels.dc_first : context.kernels.dc_refine;
        }
    }

    Declined run();

  private:
    // Where the blocks of an MCU lie: of the component, or of the MCU alone.
    struct Place {
        const Component* component;
        const DecodedPlane* plane;
        std::uint32_t h, v;  // blocks of the component in an MCU
        std::uint32_t x, y;  // this one's place among them
    };

    void set_up_blocks();
    void build_tables(std::uint32_t index);
    void aim(std::uint32_t row, std::uint32_t column);
    Declined advance(std::size_t mcus);
    Declined begin_segment();

    const DecodeContext& context_;
    const ScanHeader& scan_;
    Segments segments_;
    BitSource source_{};
    McuJob job_{};
    Place places_[10] = {};
    void (*kernel_)(McuJob&, std::size_t) = nullptr;
    std::size_t per_row_ = 0;
    std::uint32_t rows_ = 0;
    std::uint32_t all_rows_ = 0;
    std::size_t whole_ = 0;  // MCUs of a row all of whose blocks exist
    std::size_t segment_left_ = 0;
};

void McuScan::build_tables(std::uint32_t index) {
    const std::uint16_t dc = scan_.dc_table[index];
    const std::uint16_t ac = scan_.ac_table[index];
    const Scratch& scratch = context_.scratch;
    if (dc != kNoTable) build(context_.jpeg.tables[dc], scratch.dc_tables[index]);
    if (ac != kNoTable) build(context_.jpeg.tables[ac], 0, scratch.first_tables[index]);
}

void McuScan::set_up_blocks() {
    job_.al = scan_.al;
    whole_ = per_row_;
    for (std::uint32_t i = 0; i < scan_.component_count; ++i) {
        const std::uint8_t index = scan_.components[i];
        const Component& component = context_.jpeg.frame.components[index];
        const DecodedPlane& plane = context_.scans.planes[index];
        // Components mostly share tables.
        std::uint32_t same = 0;
        while (scan_.dc_table[same] != scan_.dc_table[i] ||
               scan_.ac_table[same] != scan_.ac_table[i]) {
            ++same;
        }
        if (same == i) build_tables(i);
        const std::uint32_t h = scan_.interleaved() ? component.h : 1;
        const std::uint32_t v = scan_.interleaved() ? component.v : 1;
        if (!context_.jpeg.progressive)
            whole_ = std::min<std::size_t>(whole_, component.blocks_x / h);
        for (std::uint32_t block = 0; block < h * v; ++block) {
            places_[job_.block_count] = {&component, &plane, h, v, block % h, block / h};
            McuBlock& mcu_block = job_.blocks[job_.block_count++];
            mcu_block.dc = &context_.scratch.dc_tables[same];
            mcu_block.ac = &context_.scratch.first_tables[same];
            mcu_block.component = i;
            mcu_block.dc_limit = dc_limit(component, context_.check, scan_.al);
        }
    }
}

// Points the job's blocks at the blocks of an MCU. Blocks that only fill up an MCU have a place of
// their own for the DC coefficients of progressive images; in sequential images they are forgotten.
void McuScan::aim(std::uint32_t row, std::uint32_t column) {
    for (std::uint32_t i = 0; i < job_.block_count; ++i) {
        const Place& place = places_[i];
        const std::size_t x = std::size_t{column} * place.h + place.x;
        const std::size_t y = std::size_t{row} * place.v + place.y;
        McuBlock& block = job_.blocks[i];
        if (context_.jpeg.progressive) {
            block.out = place.plane->dc + y * place.plane->dc_stride + x;
            block.step = static_cast<std::ptrdiff_t>(place.h);
        } else if (x < place.component->blocks_x && y < place.plane->block_rows) {
            block.out = place.component->block(x, y);
            block.step = static_cast<std::ptrdiff_t>(place.h * kBlockSize);
        } else {
            block.out = context_.scratch.spare_block;
            block.step = 0;
        }
    }
}

Declined McuScan::begin_segment() {
    if (const Declined reason = segments_.next(source_)) return reason;
    job_.bits = start(source_);
    std::fill(std::begin(job_.prediction), std::end(job_.prediction), 0);
    segment_left_ = scan_.restart_interval != 0 ? scan_.restart_interval : SIZE_MAX;
    return nullptr;
}

// Decodes MCUs that lie side by side.
Declined McuScan::advance(std::size_t mcus) {
    while (mcus > 0) {
        if (segment_left_ == 0) {
            if (const Declined reason = check_taken(job_.bits, source_, true)) return reason;
            if (const Declined reason = begin_segment()) return reason;
        }
        const std::size_t now = std::min(mcus, segment_left_);
        kernel_(job_, now);
        if (job_.bad) return "a Huffman code or a place that does not exist";
        if (job_.extreme) return "an extreme DC coefficient";
        if (job_.bits.at >= job_.bits.limit) return "a scan that ends early";
        mcus -= now;
        segment_left_ -= now;
    }
    return nullptr;
}

Declined McuScan::run() {
    if (const Declined reason = begin_segment()) return reason;
    for (std::uint32_t row = 0; row < rows_; ++row) {
        aim(row, 0);
        if (const Declined reason = advance(whole_)) return reason;
        for (std::size_t column = whole_; column < per_row_; ++column) {
            aim(row, static_cast<std::uint32_t>(column));
            if (const Declined reason = advance(1)) return reason;
        }
    }
    const bool to_the_end = rows_ == all_rows_;
    if (const Declined reason = check_taken(job_.bits, source_, to_the_end)) return reason;
    if (to_the_end && !segments_.at_end()) return "bytes behind the end of a scan";
    return nullptr;
}

}  // namespace

Declined decode_mcus(const DecodeContext& context, const ScanHeader& scan) {
    return McuScan(context, scan).run();
}

}  // namespace dl2::codec
