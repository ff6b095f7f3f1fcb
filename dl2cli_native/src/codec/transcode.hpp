// A JPEG to the grouped scans of a script, without libjpeg: the bytes that libjpeg's transcoder
// (src/jpeg/transcode.cpp) writes, or a word on why it is left to that one.
#pragma once

#include <atomic>
#include <memory>

#include "codec/markers.hpp"
#include "dl2/jpeg/codec.hpp"
#include "dl2/jpeg/header.hpp"

namespace dl2::codec {

// Reusable, for one thread at a time.
class NativeTranscoder {
  public:
    NativeTranscoder();
    ~NativeTranscoder();
    NativeTranscoder(const NativeTranscoder&) = delete;
    NativeTranscoder& operator=(const NativeTranscoder&) = delete;

    // Fills `bytes` and `group_end` of `result`. `header` is what read_jpeg_header says of `jpeg`.
    // Declines what is damaged or unusual in any way. Throws Error(cancelled).
    Declined transcode(Bytes jpeg, const JpegHeader& header, const TranscodeOptions& options,
                       const std::atomic<bool>* cancel, Transcoded& result);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace dl2::codec
