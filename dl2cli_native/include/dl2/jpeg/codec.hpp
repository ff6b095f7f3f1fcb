// The codec seam: a JPEG in, grouped fragments out; fragments in, pixels out. Behind it stand the
// native codec (src/codec) and libjpeg-turbo, and nothing else in dl2 calls libjpeg.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dl2/io/bytes.hpp"
#include "dl2/jpeg/scan_script.hpp"

namespace dl2 {

// Who does the work: dl2's own codec, which leaves to libjpeg-turbo whatever is damaged or unusual,
// or libjpeg-turbo alone. Both give the same bytes, the same pixels and the same verdicts.
enum class Codec : std::uint8_t { native, libjpeg };

// Throws Error(argument) for any other name than "native" and "libjpeg".
Codec codec_of_name(const std::string& name);

enum class KeepMetadata : std::uint8_t { none, icc, exif, all };

struct TranscodeOptions {
    ScanScript script;
    KeepMetadata keep = KeepMetadata::none;
    bool keep_damaged = false;
    Limits limits;
    Codec codec = Codec::native;
};

// One image in progressive form, cut into the fragments of its scan groups.
struct Transcoded {
    std::vector<std::uint8_t> bytes;       // all fragments, without the end marker
    std::vector<std::uint32_t> group_end;  // fragment g is [group_end[g - 1], group_end[g])
    std::uint16_t width = 0;
    std::uint16_t height = 0;
    std::uint8_t orientation = 1;  // EXIF, 1..8
    std::uint8_t frame = 0;        // of the source: the low nibble of its SOF marker
    std::string damage;            // what libjpeg said of a damaged source that was kept
    std::string declined;          // why libjpeg did the work; empty if the native codec did it

    Bytes fragment(std::size_t group) const {
        const std::uint32_t begin = group == 0 ? 0 : group_end[group - 1];
        return Bytes(bytes).slice(begin, group_end[group]);
    }
};

// Turns JPEGs into progressive ones without loss, on the level of DCT coefficients. Reusable, for
// one thread at a time; every image starts from nothing, so a JPEG without Huffman tables (a frame
// of MJPEG) gets the tables of T.81, K.3, whatever came before. The memory of one image: 2 bytes a
// coefficient (6 to 8 bytes a pixel at 4:4:4, 3 at 4:2:0) and twice its compressed size; the native
// codec takes 10 times the compressed size, and keeps it for the next image up to 16 megapixels.
class Transcoder {
  public:
    explicit Transcoder(TranscodeOptions options);
    ~Transcoder();
    Transcoder(const Transcoder&) = delete;
    Transcoder& operator=(const Transcoder&) = delete;

    // Throws Error: data (damaged, or over a limit), unsupported (12-bit, lossless), cancelled; and
    // std::bad_alloc.
    Transcoded transcode(Bytes jpeg, const std::atomic<bool>* cancel = nullptr);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

// Pixels as libjpeg's default decoder gives them: 1 channel (gray), 3 (RGB) or 4 (CMYK as stored).
struct Pixels {
    std::uint32_t width = 0;
    std::uint32_t height = 0;
    std::uint32_t channels = 0;
    std::vector<std::uint8_t> samples;  // height x width x channels
};

struct DecodeOptions {
    // A source file, not the first scans of an image: an end before all coefficients are there,
    // and a component in no scan, are damage. Only the end marker itself may be missing.
    bool whole_file = false;
    bool smoothing = false;  // libjpeg's block smoothing of images that lack scans
    Limits limits;
    Codec codec = Codec::native;
};

// Decodes fragments 1..k of an image. Throws Error(data) with the reason for damaged ones.
Pixels decode(const std::vector<Bytes>& fragments, const DecodeOptions& options);

// Compares the quantised DCT coefficients and quantisation tables of two JPEGs. Returns what
// differs, or an empty string. Throws Error(data) if either cannot be read.
std::string compare_coefficients(Bytes left, Bytes right, const Limits& limits);

// The version of libjpeg-turbo and the API that it was built for, e.g. "2.1.5 (API 62)".
std::string libjpeg_version();

// The instructions that the native codec runs here: "avx512", "avx2" or "portable". Throws
// Error(argument) if DL2_CODEC_ISA names none of them, or one that this processor lacks.
std::string codec_instruction_set();

// Whether the native codec decodes here. Its portable code is slower than libjpeg, and so decodes
// only where DL2_CODEC_ISA or use_codec_instruction_set asks for it; it always transcodes.
bool native_codec_decodes();

// All instruction sets of the codec that this processor can run, the slowest first.
std::vector<std::string> codec_instruction_sets();

// Chooses one for all threads, for tests and benchmarks. Throws Error(argument) if this processor
// cannot run it.
void use_codec_instruction_set(const std::string& name);

}  // namespace dl2
