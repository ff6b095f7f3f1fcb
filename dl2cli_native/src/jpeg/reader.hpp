// A libjpeg decompressor with its error state, limits and source: what every decoding starts with.
#pragma once

#include "dl2/error.hpp"
#include "jpeg/guard.hpp"

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

    // Reads the header. `fragments` must outlive the reader.
    Reader(const Bytes* fragments, std::size_t count, bool whole_file, const Limits& limits) {
        in.err = install(errors);
        auto create = [this] { jpeg_create_decompress(&in); };
        run(create);
        in.progress = install(monitor, limits, nullptr);
        install(source, &in, fragments, count, whole_file);
        auto read_header = [this] { jpeg_read_header(&in, TRUE); };
        run(read_header);
    }

    template <class Body>
    void run(Body& body) {
        if (!guarded(errors, body)) throw Error(ErrorKind::data, errors.fatal);
    }

    void check_damage() const {
        if (errors.warning[0] != 0) throw Error(ErrorKind::data, errors.warning);
        if (errors.premature_eof) throw Error(ErrorKind::data, "the file ends early");
    }
};

}  // namespace dl2
