// Working memory that is kept from one image to the next. What is in it is never relied upon: who
// needs zeros writes them, so that no image sees anything of the one before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace dl2::codec {

// A cache line, and the widest vector.
constexpr std::size_t kAlignment = 64;

constexpr std::size_t aligned(std::size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Memory that only grows. Growing loses what was in it.
class Memory {
  public:
    // At least `bytes`, aligned; uninitialised. Throws std::bad_alloc.
    std::uint8_t* take(std::size_t bytes) {
        if (bytes > size_) {
            // Some more than needed, so that a series of ever larger images does not leave the
            // heap full of holes. Pages that nobody touches cost nothing.
            const std::size_t size = aligned(bytes + (size_ > 0 ? bytes / 4 : 0));
            data_.reset();
            size_ = 0;
            data_.reset(static_cast<std::uint8_t*>(std::aligned_alloc(kAlignment, size)));
            if (data_ == nullptr) throw std::bad_alloc();
            size_ = size;
        }
        return data_.get();
    }

  private:
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    std::unique_ptr<std::uint8_t, Free> data_;
    std::size_t size_ = 0;
};

// Cuts one piece of memory into arrays. The sizes are summed up first with `plan`, then the arrays
// are handed out in the same order.
class Layout {
  public:
    explicit Layout(std::uint8_t* base = nullptr) : base_(base) {}

    template <class T>
    T* array(std::size_t count) {
        const std::size_t begin = used_;
        used_ += aligned(count * sizeof(T));
        return base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + begin);
    }

    std::size_t used() const { return used_; }

  private:
    std::uint8_t* base_;
    std::size_t used_ = 0;
};

}  // namespace dl2::codec
