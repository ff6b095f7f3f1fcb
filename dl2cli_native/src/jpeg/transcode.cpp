
#include <cstdlib>

#include "dl2/error.hpp"
#include "dl2/jpeg/codec.hpp"
#include "dl2/jpeg/header.hpp"
#include "jpeg/guard.hpp"
#include "jpeg/metadata.hpp"

namespace dl2 {
namespace {

// libjpeg's output, in memory that may grow. malloc and realloc: an exception must not cross
// libjpeg's frames. `manager` comes first: libjpeg hands back a pointer to it.
struct Destination {
    jpeg_destination_mgr manager;
    JOCTET* data;
    std::size_t capacity;
};

void reserve(j_compress_ptr cinfo, std::size_t used, std::size_t capacity) {
    auto& destination = *reinterpret_cast<Destination*>(cinfo->dest);
    if (capacity > destination.capacity) {
        auto* grown = static_cast<JOCTET*>(std::realloc(destination.data, capacity));
        if (grown == nullptr) give_up(reinterpret_cast<j_common_ptr>(cinfo), "out of memory");
        destination.data = grown;
        destination.capacity = capacity;
    }
    destination.manager.next_output_byte = destination.data + used;
    destination.manager.free_in_buffer = destination.capacity - used;
}

void destination_start(j_compress_ptr cinfo) {
    reserve(cinfo, 0, 64 << 10);
}

boolean destination_grow(j_compress_ptr cinfo) {
    const auto& destination = *reinterpret_cast<Destination*>(cinfo->dest);
    reserve(cinfo, destination.capacity, 2 * destination.capacity);
    return TRUE;
}

void destination_end(j_compress_ptr) {}

void save_markers(j_decompress_ptr in, KeepMetadata keep) {
    for (int app = 0; app < 16; ++app) {
        const bool saved = keep == KeepMetadata::all || (keep == KeepMetadata::icc && app == 2) ||
                           (keep == KeepMetadata::exif && app == 1);
        jpeg_save_markers(in, JPEG_APP0 + app, saved ? 0xFFFF : 0);
    }
    jpeg_save_markers(in, JPEG_COM, keep == KeepMetadata::all ? 0xFFFF : 0);
}

ColorModel color_model(const jpeg_decompress_struct& in) {
    switch (in.jpeg_color_space) {
        case JCS_GRAYSCALE:
            return ColorModel::gray;
        case JCS_YCbCr:
            return ColorModel::ycbcr;
        case JCS_RGB:
            return ColorModel::rgb;
        case JCS_CMYK:
            return ColorModel::cmyk;
        case JCS_YCCK:
            return ColorModel::ycck;
        default:
            throw Error(ErrorKind::data, std::to_string(in.num_components) +
                                             " colour components of no known meaning");
    }
}

// Some encoders give components the same id. Decoders put up with that in one scan of all of them,
// and could not tell the components of our scans apart. The colours do not hang on the ids: libjpeg
// writes the JFIF or Adobe marker that says what they are.
void make_ids_differ(jpeg_compress_struct& out) {
    bool differ = true;
    for (int i = 0; i < out.num_components; ++i) {
        for (int j = 0; j < i; ++j) {
            differ = differ && out.comp_info[i].component_id != out.comp_info[j].component_id;
        }
    }
    for (int i = 0; i < out.num_components && !differ; ++i) out.comp_info[i].component_id = i + 1;
}

// A component that no scan held is shown as zeros, and libjpeg does not say a word.
std::string missing_component(const jpeg_decompress_struct& in) {
    for (int i = 0; i < in.num_components; ++i) {
        if (in.comp_info[i].quant_table == nullptr) {
            return "no scan of colour component " + std::to_string(i);
        }
    }
    return "";
}

// Sampling ratios that are no whole numbers cannot be decoded to pixels by libjpeg.
void check_sampling(const jpeg_decompress_struct& in) {
    for (int i = 0; i < in.num_components; ++i) {
        const jpeg_component_info& component = in.comp_info[i];
        if (in.max_h_samp_factor % component.h_samp_factor != 0 ||
            in.max_v_samp_factor % component.v_samp_factor != 0) {
            throw Error(ErrorKind::data,
                        "fractional chroma sampling, which decoders do not support");
        }
    }
}

}  // namespace

struct Transcoder::State {
    TranscodeOptions options;
    JpegErrors errors{};
    JpegMonitor monitor{};
    FragmentSource source{};
    Destination destination{};
    jpeg_decompress_struct in{};
    jpeg_compress_struct out{};
    std::vector<ImageScan> plan;
    std::vector<jpeg_scan_info> scans;

    explicit State(TranscodeOptions options_) : options(std::move(options_)) {
        in.err = out.err = install(errors);
        auto create = [this] {
            jpeg_create_decompress(&in);
            jpeg_create_compress(&out);
        };
        if (!guarded(errors, create)) {
            jpeg_destroy_compress(&out);
            jpeg_destroy_decompress(&in);
            throw Error(ErrorKind::argument, errors.fatal);
        }
        destination.manager.init_destination = destination_start;
        destination.manager.empty_output_buffer = destination_grow;
        destination.manager.term_destination = destination_end;
        out.dest = &destination.manager;
    }

    ~State() {
        jpeg_destroy_compress(&out);
        jpeg_destroy_decompress(&in);
        std::free(destination.data);
    }

    void run(Bytes jpeg, const std::atomic<bool>* cancel, Transcoded& result);
    void read(Bytes jpeg, const JpegHeader& header, jvirt_barray_ptr*& coefficients,
              std::string& damage);
    void plan_image();
    void write(jvirt_barray_ptr* coefficients);
    void cut(Transcoded& result) const;

    [[noreturn]] void fail() const {
        const bool cancelled = monitor.cancel != nullptr && monitor.cancel->load();
        throw Error(cancelled ? ErrorKind::cancelled : ErrorKind::data, errors.fatal);
    }
};

void Transcoder::State::read(Bytes jpeg, const JpegHeader& header, jvirt_barray_ptr*& coefficients,
                             std::string& damage) {
    install(source, &in, &jpeg, 1, true);
    auto read_header = [this] {
        save_markers(&in, options.keep);
        jpeg_read_header(&in, TRUE);
    };
    if (!guarded(errors, read_header)) fail();
    auto read_all = [&] { coefficients = jpeg_read_coefficients(&in); };
    if (!guarded(errors, read_all)) fail();
    if (in.image_width != header.width || in.image_height != header.height) {
        throw Error(ErrorKind::data, "the frame headers contradict each other");
    }
    check_sampling(in);
    damage = errors.warning;
    if (damage.empty()) damage = missing_component(in);
    // A sequential file whose one scan is complete lacks nothing but the end marker.
    const bool one_scan =
        !header.progressive() && !header.arithmetic() && in.comps_in_scan == in.num_components;
    if (damage.empty() && errors.premature_eof && !one_scan) damage = "the file ends early";
    if (!damage.empty() && !options.keep_damaged) throw Error(ErrorKind::data, damage);
}

void Transcoder::State::plan_image() {
    std::array<std::uint8_t, 4> h{};
    std::array<std::uint8_t, 4> v{};
    for (int i = 0; i < in.num_components; ++i) {
        h[i] = static_cast<std::uint8_t>(in.comp_info[i].h_samp_factor);
        v[i] = static_cast<std::uint8_t>(in.comp_info[i].v_samp_factor);
    }
    plan = plan_scans(options.script, color_model(in), h, v);
    scans.clear();
    for (const ImageScan& planned : plan) {
        jpeg_scan_info info{};
        info.comps_in_scan = static_cast<int>(planned.scan.components.size());
        for (int i = 0; i < info.comps_in_scan; ++i) {
            info.component_index[i] = planned.scan.components[i];
        }
        info.Ss = planned.scan.ss;
        info.Se = planned.scan.se;
        info.Ah = planned.scan.ah;
        info.Al = planned.scan.al;
        scans.push_back(info);
    }
}

void Transcoder::State::write(jvirt_barray_ptr* coefficients) {
    auto write_all = [&] {
        jpeg_copy_critical_parameters(&in, &out);
        make_ids_differ(out);
        if (out.JFIF_major_version != 1) {  // nonsense, of which every decoder would warn
            out.JFIF_major_version = 1;
            out.JFIF_minor_version = 1;
        }
        out.scan_info = scans.data();
        out.num_scans = static_cast<int>(scans.size());
        jpeg_write_coefficients(&out, coefficients);
        for (jpeg_saved_marker_ptr marker = in.marker_list; marker; marker = marker->next) {
            const Bytes payload(marker->data, marker->data_length);
            if (!keeps_segment(options.keep, marker->marker, payload)) continue;
            jpeg_write_marker(&out, marker->marker, marker->data, marker->data_length);
        }
        jpeg_finish_compress(&out);
    };
    if (!guarded(errors, write_all)) fail();
}

// Cuts the output at its scans and sums them up by group.
void Transcoder::State::cut(Transcoded& result) const {
    const std::size_t size = destination.capacity - destination.manager.free_in_buffer;
    const Bytes jpeg(destination.data, size);
    const auto scans_written = static_cast<std::uint32_t>(plan.size());
    const std::vector<std::size_t> offsets = find_scans(jpeg, scans_written);
    if (offsets.size() != plan.size() + 1) {
        throw Error(ErrorKind::data, "the transcoded image has other scans than were asked for");
    }
    result.bytes.assign(jpeg.data, jpeg.data + offsets.back());
    result.group_end.assign(options.script.size(), 0);
    std::size_t scan = 0;
    for (std::size_t group = 0; group < options.script.size(); ++group) {
        while (scan < plan.size() && plan[scan].group == group) ++scan;
        result.group_end[group] = static_cast<std::uint32_t>(offsets[scan]);
    }
}

void Transcoder::State::run(Bytes jpeg, const std::atomic<bool>* cancel, Transcoded& result) {
    const JpegHeader header = read_jpeg_header(jpeg, options.limits);
    if (header.lossless()) throw Error(ErrorKind::unsupported, "lossless JPEG");
    if (header.precision != 8) {
        throw Error(ErrorKind::unsupported, std::to_string(header.precision) + "-bit JPEG");
    }
    reset(errors);
    in.progress = install(monitor, options.limits, cancel);
    out.progress = in.progress;
    jvirt_barray_ptr* coefficients = nullptr;
    read(jpeg, header, coefficients, result.damage);
    plan_image();
    write(coefficients);
    cut(result);
    result.width = header.width;
    result.height = header.height;
    result.orientation = header.orientation;
    result.frame = header.frame;
}

Transcoder::Transcoder(TranscodeOptions options)
    : state_(std::make_unique<State>(std::move(options))) {}

Transcoder::~Transcoder() = default;

Transcoded Transcoder::transcode(Bytes jpeg, const std::atomic<bool>* cancel) {
    Transcoded result;
    // Whatever happened, both objects are ready for the next image; abort frees this one's memory.
    struct Abort {
        State& state;
        ~Abort() {
            jpeg_abort_compress(&state.out);
            jpeg_abort_decompress(&state.in);
        }
    } abort{*state_};
    state_->run(jpeg, cancel, result);
    return result;
}

}  // namespace dl2
