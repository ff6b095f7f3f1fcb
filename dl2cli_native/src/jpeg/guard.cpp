#include "jpeg/guard.hpp"

#include <jerror.h>

#include <cstring>

#include "jpeg/verdict.hpp"

namespace dl2 {
namespace {

JpegErrors& errors_of(j_common_ptr cinfo) {
    return *reinterpret_cast<JpegErrors*>(cinfo->err);
}

[[noreturn]] void on_fatal(j_common_ptr cinfo) {
    JpegErrors& errors = errors_of(cinfo);
    errors.out_of_memory = cinfo->err->msg_code == JERR_OUT_OF_MEMORY;
    (*cinfo->err->format_message)(cinfo, errors.fatal);
    std::longjmp(errors.escape, 1);
}

// Whether libjpeg now stumbles over the end of a scan whose rest was skipped on purpose.
bool was_cut(j_common_ptr cinfo) {
    if (!cinfo->is_decompressor || cinfo->progress == nullptr) return false;
    const auto& monitor = *reinterpret_cast<JpegMonitor*>(cinfo->progress);
    return monitor.cut_source != nullptr &&
           monitor.cut_scan == reinterpret_cast<j_decompress_ptr>(cinfo)->input_scan_number;
}

void on_message(j_common_ptr cinfo, int level) {
    if (level >= 0 || was_cut(cinfo)) return;  // a trace message, or a scan that ends where we said
    JpegErrors& errors = errors_of(cinfo);
    switch (doubt_of(cinfo)) {
        case Doubt::none:
            return;
        case Doubt::early_end:
            errors.premature_eof = true;
            return;
        case Doubt::pixels:
            if (errors.warning[0] == 0) (*cinfo->err->format_message)(cinfo, errors.warning);
            return;
    }
}

void on_output(j_common_ptr) {}  // nothing prints

// Moves to the next marker of the current fragment, or to the fragment's end. libjpeg takes a
// marker for the end of the scan and leaves the remaining blocks as they are, without decoding.
void skip_scan(FragmentSource& source) {
    const JOCTET* at = source.manager.next_input_byte;
    const JOCTET* const end = at + source.manager.bytes_in_buffer;
    while (at < end) {
        const void* hit = std::memchr(at, 0xFF, static_cast<std::size_t>(end - at));
        at = hit != nullptr ? static_cast<const JOCTET*>(hit) : end;
        if (end - at < 2) break;
        const bool inside_scan = at[1] == 0 || (at[1] >= JPEG_RST0 && at[1] <= JPEG_RST0 + 7);
        if (!inside_scan && at[1] != 0xFF) break;
        at += inside_scan ? 2 : 1;
    }
    source.manager.next_input_byte = at;
    source.manager.bytes_in_buffer = static_cast<std::size_t>(end - at);
}

void on_progress(j_common_ptr cinfo) {
    auto& monitor = *reinterpret_cast<JpegMonitor*>(cinfo->progress);
    if (monitor.cancel != nullptr && monitor.cancel->load(std::memory_order_relaxed)) {
        give_up(cinfo, "cancelled");
    }
    if (!cinfo->is_decompressor) return;
    const auto* decompress = reinterpret_cast<j_decompress_ptr>(cinfo);
    const auto scans = static_cast<std::uint64_t>(decompress->input_scan_number);
    const std::uint64_t pixels = std::uint64_t{decompress->image_width} * decompress->image_height;
    if (scans > monitor.max_scans) give_up(cinfo, "too many scans");
    if (scans * pixels > monitor.max_scan_pixels) give_up(cinfo, "too many scans for its size");
    // The blocks below the cut are not what the next scan takes them for: from here on, libjpeg's
    // complaints mean nothing, also where it has met the end of the scan already.
    if (monitor.cut_source != nullptr && monitor.cut_scan != decompress->input_scan_number &&
        decompress->input_iMCU_row >= monitor.cut_rows &&
        decompress->input_iMCU_row < decompress->total_iMCU_rows) {
        monitor.cut_scan = decompress->input_scan_number;
        if (decompress->unread_marker == 0) skip_scan(*monitor.cut_source);
    }
}

void source_start(j_decompress_ptr) {}

boolean source_fill(j_decompress_ptr cinfo) {
    static const JOCTET end_marker[2] = {0xFF, JPEG_EOI};
    auto& source = *reinterpret_cast<FragmentSource*>(cinfo->src);
    while (source.next < source.count && source.fragments[source.next].size == 0) ++source.next;
    if (source.next < source.count) {
        const Bytes& fragment = source.fragments[source.next++];
        source.manager.next_input_byte = fragment.data;
        source.manager.bytes_in_buffer = fragment.size;
        return TRUE;
    }
    if (source.exhausted || source.whole_file) WARNMS(cinfo, JWRN_JPEG_EOF);
    source.exhausted = true;
    source.manager.next_input_byte = end_marker;
    source.manager.bytes_in_buffer = 2;
    return TRUE;
}

void source_skip(j_decompress_ptr cinfo, long count) {
    auto& source = *reinterpret_cast<FragmentSource*>(cinfo->src);
    auto left = static_cast<std::size_t>(count > 0 ? count : 0);
    while (left > source.manager.bytes_in_buffer) {
        left -= source.manager.bytes_in_buffer;
        source_fill(cinfo);
        if (source.exhausted)
            return;  // what was to be skipped is not there: the end marker is next
    }
    source.manager.next_input_byte += left;
    source.manager.bytes_in_buffer -= left;
}

void source_end(j_decompress_ptr) {}

}  // namespace

jpeg_error_mgr* install(JpegErrors& errors) {
    jpeg_std_error(&errors.manager);
    errors.manager.error_exit = on_fatal;
    errors.manager.emit_message = on_message;
    errors.manager.output_message = on_output;
    errors.fatal[0] = 0;
    errors.warning[0] = 0;
    errors.premature_eof = false;
    errors.out_of_memory = false;
    return &errors.manager;
}

jpeg_progress_mgr* install(JpegMonitor& monitor, const Limits& limits,
                           const std::atomic<bool>* cancel) {
    std::memset(&monitor.manager, 0, sizeof monitor.manager);
    monitor.manager.progress_monitor = on_progress;
    monitor.cancel = cancel;
    monitor.max_scans = limits.max_scans;
    monitor.max_scan_pixels = limits.max_scan_pixels;
    monitor.cut_source = nullptr;
    monitor.cut_scan = 0;
    return &monitor.manager;
}

bool run_guarded(JpegErrors& errors, GuardedBody body, void* context) {
    if (setjmp(errors.escape) != 0) return false;
    body(context);
    return true;
}

void give_up(j_common_ptr cinfo, const char* reason) {
    JpegErrors& errors = errors_of(cinfo);
    std::snprintf(errors.fatal, sizeof errors.fatal, "%s", reason);
    errors.manager.msg_code = 0;  // none of libjpeg's
    std::longjmp(errors.escape, 1);
}

void install(FragmentSource& source, j_decompress_ptr cinfo, const Bytes* fragments,
             std::size_t count, bool whole_file) {
    source.manager.init_source = source_start;
    source.manager.fill_input_buffer = source_fill;
    source.manager.skip_input_data = source_skip;
    source.manager.resync_to_restart = jpeg_resync_to_restart;
    source.manager.term_source = source_end;
    source.manager.next_input_byte = nullptr;
    source.manager.bytes_in_buffer = 0;
    source.fragments = fragments;
    source.count = count;
    source.next = 0;
    source.exhausted = false;
    source.whole_file = whole_file;
    cinfo->src = &source.manager;
}

}  // namespace dl2
