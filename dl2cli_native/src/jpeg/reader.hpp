// A libjpeg decompressor with its error state, limits and source: what every decoding starts with.
// It is made anew for each image, so that nothing (tables, flags) comes from the image before.
#pragma once

#include <new>

#include "dl2/error.hpp"
#include "dl2/jpeg/codec.hpp"
#include "jpeg/guard.hpp"
#include "jpeg/metadata.hpp"
#include "jpeg/verdict.hpp"

namespace dl2 {

// Frees libjpeg's memory also when a constructor that holds it throws.
struct Decompress : jpeg_decompress_struct {
    Decompress() : jpeg_decompress_struct{} {}
    ~Decompress() { jpeg_destroy_decompress(this); }
    Decompress(const Decompress&) = delete;
    Decompress& operator=(const Decompress&) = delete;
};

struct Reader {
    JpegErrors errors{};
    JpegMonitor monitor{};
    FragmentSource source{};
    Decompress in;

    // Reads the header, and has libjpeg save the markers that may be kept. `fragments` must outlive
    // the reader.
    Reader(const Bytes* fragments, std::size_t count, bool whole_file, const Limits& limits,
           const std::atomic<bool>* cancel = nullptr, KeepMetadata keep = KeepMetadata::none) {
        in.err = install(errors);
        auto create = [this] { jpeg_create_decompress(&in); };
        run(create);
        in.progress = install(monitor, limits, cancel);
        install(source, &in, fragments, count, whole_file);
        auto read_header = [this, keep] {
            for (int marker = JPEG_APP0; marker < JPEG_APP0 + 16; ++marker) save(marker, keep);
            save(JPEG_COM, keep);
            jpeg_read_header(&in, TRUE);
        };
        run(read_header);
    }

    // Throws what libjpeg gave up with.
    template <class Body>
    void run(Body& body) {
        if (!guarded(errors, body)) fail();
    }

    [[noreturn]] void fail() const {
        if (errors.out_of_memory) throw std::bad_alloc();
        const bool cancelled = monitor.cancel != nullptr && monitor.cancel->load();
        throw Error(cancelled ? ErrorKind::cancelled : ErrorKind::data, errors.fatal);
    }

    std::string damage() const { return damage_of(in, errors, source.whole_file); }

    void check_damage() const {
        const std::string reason = damage();
        if (!reason.empty()) throw Error(ErrorKind::data, reason);
    }

  private:
    void save(int marker, KeepMetadata keep) {
        if (!may_keep_segment(keep, static_cast<std::uint8_t>(marker))) return;
        jpeg_save_markers(&in, marker, 0xFFFF);
    }
};

}  // namespace dl2
