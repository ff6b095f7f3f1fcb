#include "dl2/scripts/trial_image.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "codec/decode/pixels.hpp"
#include "codec/decode/read_coefficients.hpp"
#include "codec/decode/scans.hpp"
#include "codec/encode/scan_encoder.hpp"
#include "dl2/error.hpp"
#include "dl2/jpeg/codec.hpp"
#include "dl2/loader/augment.hpp"
#include "dl2/loader/resize.hpp"

namespace dl2 {
namespace {

using codec::Coefficient;
using codec::Coefficients;
using codec::Component;
using codec::kBlockSize;
using codec::kMaxComponents;

// Every image is first brought into this form by the transcoder, which has the last word on what is
// sound, and of which no decoder needs to be asked whether it is unusual.
const ScanScript kPlainScript = {{{0, 1, 2}, 0, 0, 0, 0}, {{0, 1, 2}, 1, 63, 0, 0}};

// Of blocks behind the last of a component: the inverse DCT takes four at a time.
constexpr std::size_t kSpareBlocks = 4;

// What the squared error of a sample adds to those of the three colours. Source: the inverse of
// JFIF's conversion: R = Y + 1.402 Cr, G = Y - 0.344 Cb - 0.714 Cr, B = Y + 1.772 Cb.
constexpr double kColorWeights[kRoles] = {3.0, 1.772 * 1.772 + 0.344136 * 0.344136,
                                          1.402 * 1.402 + 0.714136 * 0.714136};

constexpr double kPi = 3.14159265358979323846;

// What a triangle filter that shrinks by `shrink` leaves of the energy of a frequency of a block,
// `u` half waves in 8 samples.
double kept_energy(unsigned u, double shrink) {
    const double x = kPi * u / 16 * shrink;
    return u == 0 || shrink <= 1 ? 1 : std::pow(std::sin(x) / x, 4);
}

bool is_scan(const Scan& scan) {
    const bool band = scan.ss == 0 ? scan.se == 0 : scan.ss <= scan.se && scan.se < kBlockSize;
    const bool bits = scan.al <= 10 && (scan.ah == 0 || scan.ah == scan.al + 1);
    return band && bits && !scan.components.empty();
}

struct KeepResized : RowSink {
    explicit KeepResized(Resizer& resizer_) : resizer(resizer_) {}
    void rows(const std::uint8_t* rgbx, std::size_t stride, std::uint32_t count) override {
        resizer.push(rgbx, stride, count);
    }
    Resizer& resizer;
};

// Takes rows of RGBX apart into planes.
struct KeepPlanes : RowSink {
    explicit KeepPlanes(PlanarImage& image_) : image(image_) {}
    void rows(const std::uint8_t* rgbx, std::size_t stride, std::uint32_t count) override {
        for (std::uint32_t i = 0; i < count; ++i, rgbx += stride) row(rgbx);
    }
    void row(const std::uint8_t* rgbx) {
        for (std::size_t channel = 0; channel < image.channels; ++channel) {
            std::uint8_t* const out =
                image.samples.data() + channel * image.pixels() + std::size_t{next} * image.width;
            for (std::size_t x = 0; x < image.width; ++x) out[x] = rgbx[4 * x + channel];
        }
        ++next;
    }
    PlanarImage& image;
    std::uint32_t next = 0;
};

PlanarImage empty_image(std::uint32_t width, std::uint32_t height, std::uint32_t channels) {
    return {width, height, channels,
            std::vector<std::uint8_t>(std::size_t{width} * height * channels)};
}

// The whole image.
KnownBits everything() {
    KnownBits known;
    for (auto& role : known) role.fill(0);
    return known;
}

}  // namespace

struct TrialImage::State {
    std::vector<std::uint8_t> bytes;  // in the plain script
    codec::ParsedJpeg parsed;         // points into `bytes`
    codec::ReaderMemory memory;       // what the components of `parsed` point at
    ColorModel model = ColorModel::gray;
    std::array<std::uint8_t, kMaxComponents> h{};
    std::array<std::uint8_t, kMaxComponents> v{};
    std::array<std::uint8_t, kMaxComponents> tables{};

    const Coefficients& frame() const { return parsed.frame; }
    std::size_t role(std::size_t component) const {
        return model == ColorModel::ycbcr ? component : 0;
    }
    double errors_weight(std::size_t component) const;
    void add_errors(std::size_t component, double shrink, ErrorTable& table) const;
    void mask(std::size_t component, const KnownBits& known, Coefficient* out) const;
    PlanarImage show(const KnownBits& known, std::uint32_t size, std::uint32_t resize_short,
                     codec::Memory& blocks, codec::Memory& pixels) const;
};

TrialImage::TrialImage(Bytes jpeg, const Limits& limits) {
    auto state = std::make_unique<State>();
    TranscodeOptions options;
    options.script = kPlainScript;
    options.limits = limits;
    state->bytes = Transcoder(options).transcode(jpeg).bytes;
    state->bytes.insert(state->bytes.end(), {0xFF, 0xD9});
    const Bytes plain(state->bytes);
    codec::Declined declined = codec::parse(&plain, 1, limits, state->parsed);
    if (declined == nullptr && !codec::can_upsample(state->parsed)) {
        declined = "a sampling that libjpeg's versions upsample differently";
    }
    const Coefficients& frame = state->parsed.frame;
    if (declined == nullptr && frame.component_count == 4) declined = "a CMYK image";
    if (declined == nullptr && frame.component_count == 2) declined = "an image of two components";
    if (declined == nullptr) {
        declined = codec::read_coefficients(state->parsed, state->memory);
    }
    if (declined != nullptr) throw Error(ErrorKind::unsupported, declined);
    state->memory.scratch = codec::Memory();
    if (frame.component_count == 3) {
        const bool ycc = state->parsed.color == codec::ColorSpace::ycbcr;
        state->model = ycc ? ColorModel::ycbcr : ColorModel::rgb;
    }
    for (std::size_t i = 0; i < frame.component_count; ++i) {
        state->h[i] = frame.components[i].h;
        state->v[i] = frame.components[i].v;
        state->tables[i] = state->role(i) == 0 ? 0 : 1;
    }
    state_ = std::move(state);
}

TrialImage::~TrialImage() = default;

std::uint32_t TrialImage::width() const {
    return state_->frame().width;
}

std::uint32_t TrialImage::height() const {
    return state_->frame().height;
}

std::uint32_t TrialImage::components() const {
    return state_->frame().component_count;
}

std::uint64_t TrialImage::blocks(std::size_t role) const {
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < components(); ++i) {
        if (state_->role(i) == role) count += state_->frame().components[i].block_count();
    }
    return count;
}

std::size_t TrialImage::memory_bytes() const {
    std::size_t blocks_in_all = 0;
    for (std::size_t role = 0; role < kRoles; ++role) blocks_in_all += blocks(role);
    return blocks_in_all * kBlockSize * sizeof(Coefficient) + state_->bytes.size();
}

std::size_t TrialImage::header_bytes() const {
    // What is left of the plain file without its scans, and without the end marker.
    std::size_t bytes = state_->bytes.size() - 2;
    for (const std::uint32_t scan : scan_bytes(kPlainScript)) bytes -= scan;
    return bytes;
}

std::vector<std::uint32_t> TrialImage::scan_bytes(const ScanScript& lines) const {
    if (!std::all_of(lines.begin(), lines.end(), is_scan)) {
        throw Error(ErrorKind::argument, "a line that is no scan of a progressive JPEG");
    }
    const auto plan = plan_scans(lines, state_->model, state_->h, state_->v);
    codec::ScanEncoder encoder;
    std::vector<std::size_t> sizes;
    if (!encoder.measure(state_->frame(), state_->tables.data(), plan, sizes)) {
        throw Error(ErrorKind::unsupported, "coefficients that are too long for one scan");
    }
    std::vector<std::uint32_t> result(lines.size());
    for (std::size_t i = 0; i < plan.size(); ++i) {
        result[plan[i].group] += static_cast<std::uint32_t>(sizes[i]);
    }
    return result;
}

// How many squared pixel values a squared sample of a component stands for, over all colours.
double TrialImage::State::errors_weight(std::size_t component) const {
    const Component& plane = frame().components[component];
    const double area = static_cast<double>(frame().max_h * frame().max_v) / (plane.h * plane.v);
    return area * (model == ColorModel::ycbcr ? kColorWeights[component] : 1);
}

void TrialImage::State::add_errors(std::size_t component, double shrink, ErrorTable& table) const {
    const Component& plane = frame().components[component];
    // Exact: squares of 16 bits, of up to 2^26 blocks.
    std::vector<std::uint64_t> sums(kBlockSize * kBitPositions);
    const std::size_t blocks = plane.block_count();
    for (std::size_t b = 0; b < blocks; ++b) {
        const Coefficient* const block = plane.blocks + b * kBlockSize;
        for (std::size_t k = 0; k < kBlockSize; ++k) {
            if (block[k] == 0) continue;
            const auto magnitude = static_cast<std::uint32_t>(std::abs(int{block[k]}));
            std::uint64_t* const sum = sums.data() + k * kBitPositions;
            for (std::uint32_t bit = 1; bit < kUnknownBits; ++bit) {
                // The point transform shifts DC coefficients as they are, AC magnitudes.
                const std::uint32_t lost =
                    (k == 0 ? static_cast<std::uint32_t>(block[k]) : magnitude) & ((1u << bit) - 1);
                sum[bit] += std::uint64_t{lost} * lost;
            }
            sum[kUnknownBits] += std::uint64_t{magnitude} * magnitude;
        }
    }
    const double weight = errors_weight(component);
    const double shrink_x = shrink * plane.h / frame().max_h;
    const double shrink_y = shrink * plane.v / frame().max_v;
    for (std::size_t k = 0; k < kBlockSize; ++k) {
        const unsigned natural = codec::kNaturalOrder[k];
        const double step = plane.quant[k];
        const double kept = kept_energy(natural % 8, shrink_x) * kept_energy(natural / 8, shrink_y);
        for (std::size_t bit = 0; bit < kBitPositions; ++bit) {
            table[role(component)][k][bit] +=
                weight * kept * step * step * static_cast<double>(sums[k * kBitPositions + bit]);
        }
    }
}

ErrorTable TrialImage::errors(std::uint32_t resize_short) const {
    const double shortest = std::min(width(), height());
    const double shrink = resize_short == 0 ? 1 : std::max(1.0, shortest / resize_short);
    ErrorTable table{};
    for (std::size_t i = 0; i < components(); ++i) state_->add_errors(i, shrink, table);
    return table;
}

// The blocks of a component without the bits that are not known.
void TrialImage::State::mask(std::size_t component, const KnownBits& known,
                             Coefficient* out) const {
    const Component& plane = frame().components[component];
    alignas(64) std::array<std::int16_t, kBlockSize> keep{};
    for (std::size_t k = 0; k < kBlockSize; ++k) {
        const std::uint8_t bit = known[role(component)][k];
        keep[k] = static_cast<std::int16_t>(bit >= kUnknownBits ? 0 : ~((1u << bit) - 1));
    }
    const std::size_t blocks = plane.block_count();
    for (std::size_t b = 0; b < blocks; ++b, out += kBlockSize) {
        const Coefficient* const in = plane.blocks + b * kBlockSize;
        for (std::size_t k = 0; k < kBlockSize; ++k) {
            const auto sign = static_cast<std::int16_t>(in[k] >> 15);
            const auto magnitude = static_cast<std::int16_t>((in[k] ^ sign) - sign);
            out[k] = static_cast<std::int16_t>(((magnitude & keep[k]) ^ sign) - sign);
        }
        out[0] = static_cast<std::int16_t>(in[0] & keep[0]);  // DC coefficients are shifted as such
    }
}

PlanarImage TrialImage::State::show(const KnownBits& known, std::uint32_t size,
                                    std::uint32_t resize_short, codec::Memory& blocks,
                                    codec::Memory& pixels) const {
    codec::ParsedJpeg shown;
    shown.color = parsed.color;
    shown.frame = parsed.frame;
    codec::DecodedScans scans;
    const auto lay_out = [&](codec::Layout layout) {
        for (std::size_t i = 0; i < frame().component_count; ++i) {
            Component& plane = shown.frame.components[i];
            plane.blocks =
                layout.array<Coefficient>((plane.block_count() + kSpareBlocks) * kBlockSize);
            scans.planes[i].block_rows = plane.blocks_y;
            scans.planes[i].has_ac = true;
        }
        return layout.used();
    };
    const std::size_t bytes = lay_out(codec::Layout());
    lay_out(codec::Layout(blocks.take(bytes)));
    for (std::size_t i = 0; i < frame().component_count; ++i) {
        const Component& plane = shown.frame.components[i];
        mask(i, known, plane.blocks);
        std::fill_n(plane.blocks + plane.block_count() * kBlockSize, kSpareBlocks * kBlockSize,
                    Coefficient{0});
    }
    const std::uint32_t channels = frame().component_count;
    if (size == 0) {
        PlanarImage image = empty_image(frame().width, frame().height, channels);
        KeepPlanes sink(image);
        codec::write_pixels(shown, scans, {0, 0, image.width, image.height}, 1, pixels, sink);
        return image;
    }
    TransformOptions transform;
    transform.train = false;
    transform.size = size;
    transform.resize_short = resize_short;
    check_transform(transform);
    const Placement placement =
        place(transform, SampleRandom(0, 0, 0), frame().width, frame().height);
    Resizer resizer;
    resizer.start(placement, size);
    KeepResized sink(resizer);
    codec::write_pixels(shown, scans,
                        {placement.x + resizer.columns().begin, placement.y + resizer.rows().begin,
                         placement.x + resizer.columns().end, placement.y + resizer.rows().end},
                        1, pixels, sink);
    PlanarImage image = empty_image(size, size, channels);
    KeepPlanes planes(image);
    std::vector<std::uint8_t> row(std::size_t{4} * size);
    for (std::uint32_t y = 0; y < size; ++y) {
        resizer.row(y, row.data());
        planes.row(row.data());
    }
    return image;
}

PlanarImage TrialImage::show(const KnownBits& known, std::uint32_t size,
                             std::uint32_t resize_short) const {
    codec::Memory blocks;
    codec::Memory pixels;
    return state_->show(known, size, resize_short, blocks, pixels);
}

std::vector<Similarity> TrialImage::compare(const std::vector<KnownBits>& states,
                                            std::uint32_t size, std::uint32_t resize_short,
                                            bool structure) const {
    codec::Memory blocks;
    codec::Memory pixels;
    const PlanarImage whole = state_->show(everything(), size, resize_short, blocks, pixels);
    std::vector<Similarity> result;
    for (const KnownBits& known : states) {
        result.push_back(dl2::compare(state_->show(known, size, resize_short, blocks, pixels),
                                      whole, structure));
    }
    return result;
}

}  // namespace dl2
