// The native transcoder on any bytes, on every instruction set: what libjpeg's transcoder writes or
// says, to the byte and to the word.
#include <cstdlib>
#include <string>

#include "codec/cpu.hpp"
#include "dl2/error.hpp"
#include "dl2/jpeg/codec.hpp"
#include "script.hpp"

namespace {

struct Outcome {
    std::string error;
    dl2::Transcoded image;
};

Outcome transcode(dl2::Transcoder& transcoder, dl2::Bytes jpeg) {
    Outcome outcome;
    try {
        outcome.image = transcoder.transcode(jpeg);
    } catch (const dl2::Error& error) {
        outcome.error = error.what();
    }
    return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const dl2::Bytes jpeg(data, size);
    dl2::TranscodeOptions options;
    options.script = kScript;
    options.keep = (size & 2) != 0 ? dl2::KeepMetadata::all : dl2::KeepMetadata::none;
    options.keep_damaged = (size & 1) != 0;
    options.limits = small_limits();
    options.codec = dl2::Codec::native;
    static const std::vector<dl2::codec::Isa> isas = dl2::codec::available_isas();
    std::vector<Outcome> outcomes;
    for (const dl2::codec::Isa isa : isas) {
        dl2::codec::use_isa(isa);
        dl2::Transcoder native(options);
        outcomes.push_back(transcode(native, jpeg));
    }
    // libjpeg need not work again on what the native codec left to it.
    if (!outcomes[0].error.empty() || !outcomes[0].image.declined.empty()) {
        for (const Outcome& outcome : outcomes) {
            if (outcome.error != outcomes[0].error) std::abort();
            if (outcome.image.declined.empty() && outcome.error.empty()) std::abort();
        }
        return 0;
    }
    options.codec = dl2::Codec::libjpeg;
    dl2::Transcoder libjpeg(options);
    const Outcome expected = transcode(libjpeg, jpeg);
    for (const Outcome& outcome : outcomes) {
        if (outcome.error != expected.error || outcome.image.bytes != expected.image.bytes ||
            outcome.image.group_end != expected.image.group_end ||
            outcome.image.damage != expected.image.damage) {
            std::abort();
        }
    }
    return 0;
}
