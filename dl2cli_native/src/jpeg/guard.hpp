// libjpeg reports a fatal error by calling back and never expecting a return. This file and its
// .cpp are the only place where setjmp and longjmp are used.
#pragma once

#include <atomic>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include <jpeglib.h>  // needs <cstddef> and <cstdio> before it

#include "dl2/io/bytes.hpp"

namespace dl2 {

// The error state of one libjpeg object. `manager` comes first: libjpeg hands back a pointer to it.
struct JpegErrors {
    jpeg_error_mgr manager;
    std::jmp_buf escape;
    char fatal[JMSG_LENGTH_MAX];
    char warning[JMSG_LENGTH_MAX];  // the first that means damage; empty if none
    bool premature_eof;  // the file ends early; harmless if only the end marker is missing
    bool out_of_memory;  // the system failed, which says nothing about the image
};

// Fills in the callbacks; returns what goes into cinfo.err.
jpeg_error_mgr* install(JpegErrors& errors);

struct FragmentSource;

// Watches a decompression (or a compression, where only `cancel` counts) while libjpeg works.
// `manager` comes first, as above.
struct JpegMonitor {
    jpeg_progress_mgr manager;
    const std::atomic<bool>* cancel;  // may be null
    std::uint32_t max_scans;
    std::uint64_t max_scan_pixels;
    // Where only the upper part of a progressive image is wanted: the rest of each scan is skipped
    // once this many rows of MCUs are read. Null: scans are read to their end.
    FragmentSource* cut_source;
    std::uint32_t cut_rows;
    int cut_scan;  // the scan whose rest was skipped: libjpeg's complaints about it mean nothing
};

jpeg_progress_mgr* install(JpegMonitor& monitor, const Limits& limits,
                           const std::atomic<bool>* cancel);

using GuardedBody = void (*)(void*);

// Calls body(context); false if libjpeg gave up, with the reason in errors.fatal. The frames
// between here and libjpeg are left by longjmp: they must hold nothing that needs a destructor.
bool run_guarded(JpegErrors& errors, GuardedBody body, void* context);

template <class Body>
bool guarded(JpegErrors& errors, Body& body) {
    return run_guarded(
        errors, [](void* context) { (*static_cast<Body*>(context))(); }, &body);
}

// Ends the guarded body from inside libjpeg's callbacks, with our own reason.
[[noreturn]] void give_up(j_common_ptr cinfo, const char* reason);

// A source manager over several pieces of memory that together, with an end marker behind them,
// are one JPEG: the fragments of a record are decoded without being glued together first.
struct FragmentSource {
    jpeg_source_mgr manager;
    const Bytes* fragments;
    std::size_t count;
    std::size_t next;
    bool exhausted;   // the end marker was given
    bool whole_file;  // the end marker should have been in the last fragment
};

// `fragments` must outlive the decompression. Running out of data once is how the fragments of a
// record end, and gives the end marker; `whole_file` says that a file should have brought its own.
void install(FragmentSource& source, j_decompress_ptr cinfo, const Bytes* fragments,
             std::size_t count, bool whole_file);

}  // namespace dl2
