// A storage that Python reads: an object of `dl2cli.stores` stands behind it.
#include <algorithm>
#include <cstring>
#include <deque>
#include <new>
#include <utility>

#include "bindings.hpp"
#include "dl2/io/storage.hpp"

namespace dl2_python {
namespace {

// Gives a Python object back with the GIL held, and not at all when Python has ended.
void forget(py::object* object) {
    if (Py_IsInitialized() == 0) return;  // what it holds went with its process
    const py::gil_scoped_acquire acquire;
    delete object;
}

// The bytes of a range as Python gave them, piece by piece; each piece goes when it has been read,
// so that a range is in memory once and not twice.
class PythonRange : public dl2::RangeReader {
  public:
    // With the GIL held. Throws Error(argument) if the pieces are not `length` bytes.
    PythonRange(const py::sequence& pieces, std::uint64_t length) {
        std::uint64_t total = 0;
        for (const py::handle piece : pieces) {
            pieces_.push_back(py::reinterpret_borrow<py::buffer>(piece).request());
            const py::buffer_info& info = pieces_.back();
            total += static_cast<std::uint64_t>(info.size * info.itemsize);
        }
        if (total != length) {
            throw dl2::Error(dl2::ErrorKind::argument, "a store gave " + std::to_string(total) +
                                                           " bytes, and was asked for " +
                                                           std::to_string(length));
        }
    }

    ~PythonRange() override { release(pieces_.size()); }

    void read(std::uint8_t* out, std::size_t size) override {
        while (size > 0) {
            if (pieces_.empty()) {
                throw dl2::Error(dl2::ErrorKind::argument, "a read past the asked-for range");
            }
            const auto* data = static_cast<const std::uint8_t*>(pieces_.front().ptr);
            const auto whole =
                static_cast<std::size_t>(pieces_.front().size * pieces_.front().itemsize);
            const std::size_t part = std::min(size, whole - at_);
            if (part > 0) std::memcpy(out, data + at_, part);
            at_ += part;
            out += part;
            size -= part;
            if (at_ == whole) {
                release(1);
                at_ = 0;
            }
        }
    }

    void read(const std::vector<dl2::Piece>& pieces) override {
        for (const dl2::Piece& piece : pieces) read(piece.data, piece.size);
    }

  private:
    void release(std::size_t count) {
        if (count == 0 || Py_IsInitialized() == 0) return;
        const py::gil_scoped_acquire acquire;
        for (; count > 0; --count) pieces_.pop_front();
    }

    std::deque<py::buffer_info> pieces_;
    std::size_t at_ = 0;  // in the first piece
};

// Turns what a Python store raised into the native core's error. What is none of a store's errors
// (KeyboardInterrupt, a mistake in it) goes on as it is.
[[noreturn]] void rethrow(py::error_already_set& error) {
    const py::object value = error.value();
    if (error.matches(PyExc_MemoryError)) throw std::bad_alloc();
    if (error.matches(PyExc_OSError) && !value.attr("errno").is_none()) {
        const auto code = value.attr("errno").cast<int>();
        throw dl2::Error(dl2::ErrorKind::io, py::str(value.attr("strerror")), code);
    }
    if (error.matches(PyExc_ValueError)) {
        throw dl2::Error(dl2::ErrorKind::data, py::str(value));
    }
    throw error;
}

class PythonStorage : public dl2::Storage {
  public:
    explicit PythonStorage(const py::object& reader) : reader_(new py::object(reader), forget) {
        rereads_ = reader.attr("rereads").cast<unsigned>();
    }

    dl2::StoredObject open_whole(const std::string&) const override {
        throw dl2::Error(dl2::ErrorKind::argument, "a store is read in ranges only");
    }

    std::unique_ptr<dl2::RangeReader> open(const std::string& name, std::uint64_t offset,
                                           std::uint64_t length) const override {
        const py::gil_scoped_acquire acquire;
        try {
            const py::object pieces = reader_->attr("read")(to_text(name), offset, length);
            return std::make_unique<PythonRange>(py::sequence(pieces), length);
        } catch (py::error_already_set& error) {
            rethrow(error);
        }
    }

    unsigned rereads() const override { return rereads_; }

    void cancel() const override {
        const py::gil_scoped_acquire acquire;
        try {
            reader_->attr("cancel")();
        } catch (py::error_already_set& error) {
            error.discard_as_unraisable("dl2: a store that does not cancel its reads");
        }
    }

  private:
    std::shared_ptr<py::object> reader_;
    unsigned rereads_ = 0;
};

}  // namespace

std::shared_ptr<const dl2::Storage> to_storage(const py::object& place) {
    if (py::isinstance<py::bytes>(place)) {
        return std::make_shared<dl2::LocalStorage>(place.cast<std::string>());
    }
    return std::make_shared<PythonStorage>(place);
}

}  // namespace dl2_python
