#include "codec/encode/huffman.hpp"

#include <algorithm>
#include <cstddef>

namespace dl2::codec {
namespace {

constexpr std::uint32_t kReserved = 256;  // a pseudo symbol: takes the code that is all ones
constexpr std::size_t kMaxLeaves = 257;
constexpr std::uint32_t kMaxDepth = 32;  // libjpeg gives up beyond
constexpr std::uint32_t kMaxLength = 16;
constexpr std::uint64_t kMaxCount = 1'000'000'000;  // libjpeg takes more for "no symbol left"

// A tree of the forest. The order of the keys is the order in which libjpeg joins trees: the
// rarest first, and of equally rare ones that with the largest index; a joined tree has the index
// of the rarer of its two parts.
struct Tree {
    std::uint64_t key;  // count << 9 | (256 - index)
    std::uint32_t node;
};

std::uint64_t key_of(std::uint64_t count, std::uint32_t index) {
    return (count << 9) | (kReserved - index);
}

// Huffman's algorithm on two queues: the sorted leaves, and the joined trees, which come into
// being in the order of their counts.
class Forest {
  public:
    explicit Forest(const Histogram& histogram) {
        leaves_[0] = {key_of(1, kReserved), 0};
        count_ = 1;
        for (std::uint32_t symbol = 0; symbol < 256; ++symbol) {
            if (histogram[symbol] != 0) leaves_[count_++].key = key_of(histogram[symbol], symbol);
        }
        std::sort(leaves_.begin() + 1, leaves_.begin() + static_cast<std::ptrdiff_t>(count_),
                  [](const Tree& a, const Tree& b) { return a.key < b.key; });
        for (std::uint32_t i = 0; i < count_; ++i) leaves_[i].node = i;
    }

    std::size_t leaf_count() const { return count_; }
    std::uint32_t index(std::size_t leaf) const {
        return kReserved - static_cast<std::uint32_t>(leaves_[leaf].key & 511);
    }
    std::uint32_t depth(std::size_t leaf) const { return depth_[leaf]; }

    bool join_all() {
        const auto total = static_cast<std::uint32_t>(2 * count_ - 1);
        for (auto node = static_cast<std::uint32_t>(count_); node < total; ++node) {
            const Tree rarer = pop();
            const Tree other = pop();
            parent_[rarer.node] = parent_[other.node] = node;
            const std::uint64_t sum = (rarer.key >> 9) + (other.key >> 9);
            if (sum > kMaxCount) return false;
            push({(sum << 9) | (rarer.key & 511), node});
        }
        depth_[total - 1] = 0;
        for (std::uint32_t node = total - 1; node-- > 0;) {
            depth_[node] = depth_[parent_[node]] + 1;
        }
        return true;
    }

  private:
    Tree pop() {
        const bool leaf = leaf_ < count_ && (joined_begin_ == joined_end_ ||
                                             leaves_[leaf_].key < joined_[joined_begin_].key);
        return leaf ? leaves_[leaf_++] : joined_[joined_begin_++];
    }

    // No joined tree counts more than the newest one; only ties have to be sorted.
    void push(Tree tree) {
        std::size_t at = joined_end_++;
        for (; at > joined_begin_ && joined_[at - 1].key > tree.key; --at) {
            joined_[at] = joined_[at - 1];
        }
        joined_[at] = tree;
    }

    std::array<Tree, kMaxLeaves> leaves_;
    std::array<Tree, kMaxLeaves> joined_;
    std::array<std::uint32_t, 2 * kMaxLeaves> parent_;
    std::array<std::uint32_t, 2 * kMaxLeaves> depth_;
    std::size_t count_ = 0;
    std::size_t leaf_ = 0;
    std::size_t joined_begin_ = 0;
    std::size_t joined_end_ = 0;
};

// T.81, figure K.3: moves pairs of codes that are too long to where there is room.
void limit_lengths(std::array<std::uint32_t, kMaxDepth + 1>& count) {
    for (std::uint32_t length = kMaxDepth; length > kMaxLength; --length) {
        while (count[length] > 0) {
            std::uint32_t shorter = length - 2;
            while (count[shorter] == 0) --shorter;
            count[length] -= 2;
            count[length - 1] += 1;
            count[shorter + 1] += 2;
            count[shorter] -= 1;
        }
    }
    std::uint32_t longest = kMaxLength;
    while (count[longest] == 0) --longest;
    --count[longest];  // of the reserved code
}

void assign_codes(HuffmanTable& table) {
    table.code.fill(0);
    std::uint32_t code = 0;
    std::uint32_t next = 0;
    for (std::uint32_t length = 1; length <= kMaxLength; ++length, code <<= 1) {
        for (std::uint32_t i = 0; i < table.bits[length]; ++i) {
            table.code[table.values[next++]] = (code++ << 8) | length;
        }
    }
}

}  // namespace

bool build_huffman(const Histogram& histogram, HuffmanTable& table) {
    Forest forest(histogram);
    const std::size_t leaves = forest.leaf_count();
    if (leaves < 2 || !forest.join_all()) return false;
    std::array<std::uint32_t, kMaxDepth + 1> count{};
    std::array<std::uint8_t, kMaxLeaves> depth{};  // by symbol; 0 if it does not occur
    for (std::size_t leaf = 0; leaf < leaves; ++leaf) {
        if (forest.depth(leaf) > kMaxDepth) return false;
        depth[forest.index(leaf)] = static_cast<std::uint8_t>(forest.depth(leaf));
        ++count[forest.depth(leaf)];
    }
    // The symbols in the order of their depth, then of their value: a counting sort.
    std::array<std::uint32_t, kMaxDepth + 2> next{};
    depth[kReserved] = 0;
    for (std::size_t symbol = 0; symbol < 256; ++symbol) {
        if (depth[symbol] != 0) ++next[depth[symbol] + 1u];
    }
    for (std::uint32_t i = 1; i < next.size(); ++i) next[i] += next[i - 1];
    for (std::size_t symbol = 0; symbol < 256; ++symbol) {
        if (depth[symbol] != 0) {
            table.values[next[depth[symbol]]++] = static_cast<std::uint8_t>(symbol);
        }
    }
    limit_lengths(count);
    for (std::uint32_t length = 1; length <= kMaxLength; ++length) {
        table.bits[length] = static_cast<std::uint8_t>(count[length]);
    }
    table.value_count = static_cast<std::uint32_t>(leaves - 1);
    assign_codes(table);
    return true;
}

}  // namespace dl2::codec
