#include "dl2/watching/thread_state.hpp"

#ifdef __linux__
#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#endif

namespace dl2 {

#ifdef __linux__
namespace {

// The beginning of a thread's file in /proc; empty if it cannot be read.
struct Text {
    char text[256] = "";

    Text(int id, const char* name) noexcept {
        char path[64];
        std::snprintf(path, sizeof path, "/proc/self/task/%d/%s", id, name);
        const int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) return;
        const ssize_t size = read(file, text, sizeof text - 1);
        text[size > 0 ? size : 0] = '\0';
        close(file);
    }
};

Activity activity_of(int id) noexcept {
    const Text call(id, "syscall");  // "running", or the number of the system call it waits in
    if (std::strncmp(call.text, "running", 7) == 0) return Activity::runs;
    if (call.text[0] != '\0') {
        return std::atol(call.text) == SYS_futex ? Activity::waits_for_lock : Activity::blocked;
    }
    // Not every kernel has that file.
    const Text stat(id, "stat");
    const char* end = std::strrchr(stat.text, ')');  // a name may have parentheses, too
    if (end == nullptr || end[1] == '\0') return Activity::unknown;
    return end[2] == 'R' ? Activity::runs : Activity::blocked;
}

}  // namespace

ThreadState read_thread_state(int id) noexcept {
    ThreadState state;
    state.activity = activity_of(id);
    // The kernel's own name of a thread's clock, which it checks: pthread_getcpuclockid would read
    // the memory of a thread that may have ended.
    const auto clock = static_cast<clockid_t>((~static_cast<unsigned>(id) << 3) | 6U);
    timespec time{};
    if (clock_gettime(clock, &time) == 0) {
        state.cpu_ns = static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U +
                       static_cast<std::uint64_t>(time.tv_nsec);
    }
    return state;
}
#else
ThreadState read_thread_state(int) noexcept {
    return {};
}
#endif

}  // namespace dl2
