// Memory for arrays that grow while they are written, kept from one image to the next.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>

namespace dl2::codec {

// Never initialised, and given back only with the object.
template <class Item>
class Growing {
  public:
    Item* data() { return data_.get(); }
    const Item* data() const { return data_.get(); }
    // Makes room for `count` items, of which the first `kept` keep their values.
    void reserve(std::size_t count, std::size_t kept) {
        if (count <= capacity_) return;
        const std::size_t capacity = std::max(count, capacity_ + capacity_ / 2);
        std::unique_ptr<Item[]> grown(new Item[capacity]);
        if (kept > 0) std::memcpy(grown.get(), data_.get(), kept * sizeof(Item));
        data_ = std::move(grown);
        capacity_ = capacity;
    }

  private:
    std::unique_ptr<Item[]> data_;
    std::size_t capacity_ = 0;
};

}  // namespace dl2::codec
