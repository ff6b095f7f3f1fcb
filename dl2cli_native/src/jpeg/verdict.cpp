#include "jpeg/verdict.hpp"

#include <jerror.h>

namespace dl2 {
namespace {

// A component that no scan held is shown as zeros, and libjpeg does not say a word.
std::string missing_component(const jpeg_decompress_struct& in) {
    for (int i = 0; i < in.num_components; ++i) {
        if (in.comp_info[i].quant_table == nullptr) {
            return "no scan of colour component " + std::to_string(i);
        }
    }
    return "";
}

// Whether every coefficient is there to its last bit. A scan that was cut short has warned before.
bool is_complete(const jpeg_decompress_struct& in) {
    // An arithmetic coder may leave out zeros at the end of a scan (T.81, D.1.8), so nothing tells
    // that one was cut.
    if (in.arith_code) return false;
    if (!in.progressive_mode) return true;
    if (in.coef_bits == nullptr) return false;
    for (int i = 0; i < in.num_components; ++i) {
        for (int k = 0; k < DCTSIZE2; ++k) {
            if (in.coef_bits[i][k] != 0) return false;
        }
    }
    return true;
}

}  // namespace

Doubt doubt_of(j_common_ptr cinfo) {
    switch (cinfo->err->msg_code) {
        case JWRN_EXTRANEOUS_DATA:  // bytes that belong to nothing: every decoder skips them
        case JWRN_ADOBE_XFORM:      // a transform that does not exist: taken for YCbCr or YCCK
        case JWRN_JFIF_MAJOR:       // a version that does not exist: the marker means the same
        case JWRN_BOGUS_ICC:        // a colour profile in pieces that do not fit: no pixels
            return Doubt::none;
        case JWRN_NOT_SEQUENTIAL: {
            // A sequential scan holds all coefficients, whatever its header says of them, and some
            // phones write 0, 0, 0. A header that names another beginning, or bits to come, may
            // belong to a progressive image whose frame header is damaged.
            const auto& in = *reinterpret_cast<j_decompress_ptr>(cinfo);
            return in.Ss == 0 && in.Ah == 0 && in.Al == 0 ? Doubt::none : Doubt::pixels;
        }
        case JWRN_JPEG_EOF:
            return Doubt::early_end;
        case JWRN_HIT_MARKER:         // a scan is too short: the rest is made up
        case JWRN_HUFF_BAD_CODE:      // a code that its table does not have
        case JWRN_ARITH_BAD_CODE:     // a coefficient out of range
        case JWRN_MUST_RESYNC:        // a restart marker is missing or not the next one
        case JWRN_BOGUS_PROGRESSION:  // a scan between is missing, or there twice
        default:                      // what later versions may warn of
            return Doubt::pixels;
    }
}

std::string damage_of(const jpeg_decompress_struct& in, const JpegErrors& errors, bool whole_file) {
    if (errors.warning[0] != 0) return errors.warning;
    const std::string missing = whole_file ? missing_component(in) : "";
    if (!missing.empty()) return missing;
    if (errors.premature_eof && !(whole_file && is_complete(in))) return "the file ends early";
    return "";
}

}  // namespace dl2
