// The splitter and the transcoder on any bytes: an error, or fragments that all decode.
#include <cstdlib>

#include "dl2/error.hpp"
#include "dl2/jpeg/codec.hpp"
#include "dl2/jpeg/header.hpp"
#include "script.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const dl2::Bytes jpeg(data, size);
    const dl2::Limits limits = small_limits();
    try {
        dl2::find_scans(jpeg, limits.max_scans);
    } catch (const dl2::Error&) {
    }
    // What we write has the scans of our script, however many the source may have had.
    dl2::Limits own = limits;
    own.max_scan_pixels = limits.max_pixels * limits.max_scans;
    dl2::Transcoded image;
    try {
        dl2::Transcoder transcoder({kScript, dl2::KeepMetadata::all, (size & 1) != 0, limits});
        image = transcoder.transcode(jpeg);
    } catch (const dl2::Error&) {
        return 0;
    }
    // What we wrote ourselves must decode at every fidelity, and hold the source's coefficients.
    std::vector<dl2::Bytes> fragments;
    for (std::size_t group = 0; group < kScript.size(); ++group) {
        fragments.push_back(image.fragment(group));
        dl2::DecodeOptions options;
        options.limits = own;
        dl2::decode(fragments, options);
    }
    if (image.damage.empty()) {
        std::vector<std::uint8_t> whole = image.bytes;
        whole.insert(whole.end(), {0xFF, 0xD9});
        if (!dl2::compare_coefficients(jpeg, whole, own).empty()) std::abort();
    }
    return 0;
}
