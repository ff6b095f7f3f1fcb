// What the kernel says of a thread of this process: whether it runs, and what it is blocked in.
#pragma once

#include <cstdint>

namespace dl2 {

enum class Activity {
    unknown,  // it has ended, or the system does not tell
    runs,     // also if it waits for a processor
    blocked,
    waits_for_lock,  // blocked, but in a futex: for another thread, not for a device
};

struct ThreadState {
    Activity activity = Activity::unknown;
    std::uint64_t cpu_ns = 0;  // processor time since it began; 0 if not known
};

// `id` is the kernel's, as gettid() gives it. Needs no lock, and neither waits nor throws.
ThreadState read_thread_state(int id) noexcept;

}  // namespace dl2
