#include "codec/transcode.hpp"
#include "dl2/error.hpp"
#include "dl2/jpeg/codec.hpp"
#include "dl2/jpeg/header.hpp"
#include "jpeg/quant_slots.hpp"
#include "jpeg/reader.hpp"
#include "jpeg/writer.hpp"

#include <jerror.h>

namespace dl2 {
namespace {

// What a scan may hold beyond the bits that 8-bit samples need (16-bit differences against 10).
constexpr std::uint8_t kMaxExtraBits = 6;

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

// Some encoders give components the same id. Decoders put up with that in one scan of all
// components, and could not tell the components of our scans apart. The colours do not hang on the
// ids: libjpeg writes the JFIF or Adobe marker that says what they are.
void make_ids_differ(jpeg_compress_struct& out) {
    bool differ = true;
    for (int i = 0; i < out.num_components; ++i) {
        for (int j = 0; j < i; ++j) {
            differ = differ && out.comp_info[i].component_id != out.comp_info[j].component_id;
        }
    }
    for (int i = 0; i < out.num_components && !differ; ++i) out.comp_info[i].component_id = i + 1;
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

std::vector<jpeg_scan_info> to_libjpeg(const std::vector<ImageScan>& plan) {
    std::vector<jpeg_scan_info> scans;
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
    return scans;
}

// The transcoding of one image, from nothing to its fragments.
class Transcoding {
  public:
    Transcoding(Bytes jpeg, const TranscodeOptions& options, const std::atomic<bool>* cancel)
        : options_(options),
          jpeg_(jpeg),
          reader_(&jpeg_, 1, true, options.limits, cancel, options.keep) {}

    // Reads all coefficients; returns what is damaged, if damaged images are kept.
    std::string read(const JpegHeader& header);

    // Writes them in the scans of the script.
    void write(Destination& destination);

    // Cuts the output at its scans and sums them up by group.
    void cut(Bytes output, Transcoded& result) const;

  private:
    void plan(std::uint8_t extra_bits);
    bool write_planned(Destination& destination);

    const TranscodeOptions& options_;
    Bytes jpeg_;
    Reader reader_;
    jvirt_barray_ptr* coefficients_ = nullptr;
    std::vector<ImageScan> plan_;
};

std::string Transcoding::read(const JpegHeader& header) {
    auto read_all = [this] { coefficients_ = jpeg_read_coefficients(&reader_.in); };
    reader_.run(read_all);
    if (reader_.in.image_width != header.width || reader_.in.image_height != header.height) {
        throw Error(ErrorKind::data, "the frame headers contradict each other");
    }
    check_sampling(reader_.in);
    std::string damage = reader_.damage();
    if (!damage.empty() && !options_.keep_damaged) throw Error(ErrorKind::data, damage);
    auto settle = [this] { settle_quant_slots(reader_.in); };
    reader_.run(settle);
    return damage;
}

void Transcoding::plan(std::uint8_t extra_bits) {
    const jpeg_decompress_struct& in = reader_.in;
    std::array<std::uint8_t, 4> h{};
    std::array<std::uint8_t, 4> v{};
    for (int i = 0; i < in.num_components; ++i) {
        h[i] = static_cast<std::uint8_t>(in.comp_info[i].h_samp_factor);
        v[i] = static_cast<std::uint8_t>(in.comp_info[i].v_samp_factor);
    }
    plan_ = plan_scans(options_.script, color_model(in), h, v, extra_bits);
}

void Transcoding::write(Destination& destination) {
    // Some files hold coefficients of more bits than one scan can (T.81, G.1.2): then it takes
    // several scans to bring them.
    for (std::uint8_t extra_bits = 0; extra_bits <= kMaxExtraBits; ++extra_bits) {
        plan(extra_bits);
        if (write_planned(destination)) return;
    }
    reader_.fail();
}

// Returns false if a coefficient is too large for its scan; throws for any other failure.
bool Transcoding::write_planned(Destination& destination) {
    std::vector<jpeg_scan_info> scans = to_libjpeg(plan_);
    Compress out;
    auto write_all = [&] {
        jpeg_decompress_struct& in = reader_.in;
        out.err = in.err;
        jpeg_create_compress(&out);
        out.progress = in.progress;
        out.dest = &destination.manager;
        jpeg_copy_critical_parameters(&in, &out);
        make_ids_differ(out);
        if (out.JFIF_major_version != 1) {  // nonsense, of which every decoder would warn
            out.JFIF_major_version = 1;
            out.JFIF_minor_version = 1;
        }
        out.scan_info = scans.data();
        out.num_scans = static_cast<int>(scans.size());
        jpeg_write_coefficients(&out, coefficients_);
        for (jpeg_saved_marker_ptr marker = in.marker_list; marker; marker = marker->next) {
            const Bytes payload(marker->data, marker->data_length);
            if (!keeps_segment(options_.keep, marker->marker, payload)) continue;
            jpeg_write_marker(&out, marker->marker, marker->data, marker->data_length);
        }
        jpeg_finish_compress(&out);
    };
    if (guarded(reader_.errors, write_all)) return true;
    if (reader_.errors.manager.msg_code != JERR_BAD_DCT_COEF) reader_.fail();
    return false;
}

void Transcoding::cut(Bytes output, Transcoded& result) const {
    const auto scans_written = static_cast<std::uint32_t>(plan_.size());
    const std::vector<std::size_t> offsets = find_scans(output, scans_written);
    if (offsets.size() != plan_.size() + 1) {
        throw Error(ErrorKind::data, "the transcoded image has other scans than were asked for");
    }
    result.bytes.assign(output.data, output.data + offsets.back());
    result.group_end.assign(count_groups(options_.script), 0);
    std::size_t scan = 0;
    for (std::size_t group = 0; group < result.group_end.size(); ++group) {
        while (scan < plan_.size() && plan_[scan].group == group) ++scan;
        result.group_end[group] = static_cast<std::uint32_t>(offsets[scan]);
    }
}

}  // namespace

// Only options and memory: nothing that a JPEG says outlives its own transcoding.
struct Transcoder::State {
    TranscodeOptions options;
    Destination destination;
    codec::NativeTranscoder native;

    codec::Declined run_native(Bytes jpeg, const JpegHeader& header,
                               const std::atomic<bool>* cancel, Transcoded& result) {
        if (options.codec == Codec::libjpeg) return "libjpeg was asked for";
        return native.transcode(jpeg, header, options, cancel, result);
    }
};

Transcoder::Transcoder(TranscodeOptions options) : state_(std::make_unique<State>()) {
    state_->options = std::move(options);
}

Transcoder::~Transcoder() = default;

Transcoded Transcoder::transcode(Bytes jpeg, const std::atomic<bool>* cancel) {
    const JpegHeader header = read_jpeg_header(jpeg, state_->options.limits);
    if (header.lossless()) throw Error(ErrorKind::unsupported, "lossless JPEG");
    if (header.precision != 8) {
        throw Error(ErrorKind::unsupported, std::to_string(header.precision) + "-bit JPEG");
    }
    Transcoded result;
    result.width = header.width;
    result.height = header.height;
    result.orientation = header.orientation;
    result.frame = header.frame;
    const codec::Declined declined = state_->run_native(jpeg, header, cancel, result);
    if (declined == nullptr) return result;
    result.declined = declined;
    Transcoding image(jpeg, state_->options, cancel);
    result.damage = image.read(header);
    image.write(state_->destination);
    image.cut(state_->destination.written(), result);
    return result;
}

}  // namespace dl2
