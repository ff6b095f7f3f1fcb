// The Python face of watching: what the kernel and the stacks say of threads at a chosen moment.

#include "bindings.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>

#include <pybind11/stl.h>

#include "dl2/watching/thread_state.hpp"

using namespace pybind11::literals;

namespace dl2_python {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr int kDeepest = 80;                               // frames that are looked at
constexpr auto kFreeGil = std::chrono::microseconds(100);  // a free GIL takes so long at most

// (code, line) of each frame of a thread that does not run meanwhile, the innermost first.
py::list stack_of(PyFrameObject* frame) {
    py::list stack;
    auto current = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(frame));
    for (int depth = 0; current && depth < kDeepest; ++depth) {
        auto* const at = reinterpret_cast<PyFrameObject*>(current.ptr());
        const auto code =
            py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(PyFrame_GetCode(at)));
        stack.append(py::make_tuple(code, std::max(PyFrame_GetLineNumber(at), 0)));
        current =
            py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(PyFrame_GetBack(at)));
    }
    return stack;
}

class StackLooker {
  public:
    StackLooker() : process_(getpid()) {
        if (pipe(pipe_) != 0) {
            throw dl2::Error(dl2::ErrorKind::io, "no pipe can be made", errno);
        }
        for (const int end : pipe_) fcntl(end, F_SETFD, FD_CLOEXEC);
    }
    StackLooker(const StackLooker&) = delete;
    StackLooker& operator=(const StackLooker&) = delete;
    ~StackLooker() {
        for (const int end : pipe_) close(end);
    }

    // Where Python ends meanwhile, PyEval_RestoreThread ends this thread by an unwinding, which
    // must not begin in a destructor: so there is no py::gil_scoped_release here and below.
    bool wait(double seconds) const {
        PyThreadState* const state = PyEval_SaveThread();
        const bool goes_on = sleep(seconds);
        PyEval_RestoreThread(state);
        return goes_on;
    }

    py::object look(double seconds,
                    const std::vector<std::pair<unsigned long, int>>& threads) const {
        std::vector<dl2::ThreadState> states(threads.size());
        PyThreadState* const state = PyEval_SaveThread();
        const bool goes_on = sleep(seconds);
        // Before this thread has the GIL, for which the others may then wait.
        for (std::size_t i = 0; goes_on && i < threads.size(); ++i) {
            states[i] = dl2::read_thread_state(threads[i].second);
        }
        const auto asked = Clock::now();
        PyEval_RestoreThread(state);
        const bool was_free = Clock::now() - asked < kFreeGil;
        if (!goes_on) return py::none();

        const py::dict frames = py::module_::import("sys").attr("_current_frames")();
        py::list result;
        for (std::size_t i = 0; i < threads.size(); ++i) {
            const py::int_ ident(threads[i].first);
            PyObject* const frame = PyDict_GetItem(frames.ptr(), ident.ptr());
            // A thread that waits for the GIL would compute, if another one did not.
            const bool blocked = states[i].activity == dl2::Activity::blocked ||
                                 (states[i].activity == dl2::Activity::waits_for_lock && was_free);
            result.append(py::make_tuple(stack_of(reinterpret_cast<PyFrameObject*>(frame)), blocked,
                                         states[i].cpu_ns));
        }
        return result;
    }

    void stop() const {
        // A forked process has the same pipe, and is not to stop its parent's sampler.
        if (getpid() != process_) return;
        const char byte = 0;
        [[maybe_unused]] const ssize_t written = write(pipe_[1], &byte, 1);
    }

  private:
    // Returns false if `stop` was called.
    bool sleep(double seconds) const noexcept {
#ifdef __linux__
        // Waits of this thread, the one for the GIL among them, end on time, and not 50 us later.
        prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
#endif
        const auto until = Clock::now() + Seconds(seconds);
        pollfd stopped{pipe_[0], POLLIN, 0};
        while (true) {
            const double rest = std::max(Seconds(until - Clock::now()).count(), 0.0);
            timespec left{};
            left.tv_sec = static_cast<time_t>(rest);
            left.tv_nsec = static_cast<long>((rest - std::floor(rest)) * 1e9);
            const int ready = ppoll(&stopped, 1, &left, nullptr);
            if (ready > 0 || (ready < 0 && errno != EINTR)) return false;
            if (ready == 0 && Clock::now() >= until) return true;
        }
    }

    const pid_t process_;
    int pipe_[2] = {-1, -1};
};

}  // namespace

void bind_watching(py::module_& m) {
    py::class_<StackLooker>(m, "StackLooker")
        .def(py::init<>())
        .def("wait", &StackLooker::wait, "seconds"_a)
        .def("look", &StackLooker::look, "seconds"_a, "threads"_a)
        .def("stop", &StackLooker::stop);
}

}  // namespace dl2_python
