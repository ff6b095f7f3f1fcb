// The record parser on any bytes, once as metadata and once as a scan group.
#include <cstdlib>

#include "dl2/error.hpp"
#include "dl2/record/record.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const dl2::Bytes message(data, size);
    try {
        const dl2::Metadata metadata = dl2::parse_metadata(message);
        // What was understood survives the way back and forth.
        const dl2::Metadata again = dl2::parse_metadata(dl2::serialize_metadata(metadata));
        if (again.labels != metadata.labels || again.group_bytes != metadata.group_bytes ||
            again.widths != metadata.widths || again.groups != metadata.groups) {
            std::abort();
        }
    } catch (const dl2::Error&) {
    }
    for (std::size_t images = 0; images < 4; ++images) {
        std::vector<dl2::Bytes> fragments;
        try {
            dl2::parse_scan_group(message, images, fragments);
            if (fragments.size() != images) std::abort();
        } catch (const dl2::Error&) {
        }
        for (const dl2::Bytes fragment : fragments) {
            if (fragment.size > size || fragment.data < data ||
                fragment.data + fragment.size > data + size) {
                std::abort();
            }
        }
    }
    return 0;
}
