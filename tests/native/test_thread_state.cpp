// What the kernel says of threads.

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <sys/syscall.h>
#include <unistd.h>

#include "dl2/watching/thread_state.hpp"

namespace {

int own_id() {
    return static_cast<int>(syscall(SYS_gettid));
}

// The state of a thread as soon as it is `expected`, or the last that was seen.
dl2::Activity wait_for(int id, dl2::Activity expected) {
    dl2::Activity seen = dl2::Activity::unknown;
    for (int i = 0; i < 2000; ++i) {
        seen = dl2::read_thread_state(id).activity;
        if (seen == expected) break;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return seen;
}

}  // namespace

TEST_CASE("thread state: one that computes runs, and its clock goes on") {
    std::atomic<int> id{0};
    std::atomic<bool> stop{false};
    std::thread thread([&] {
        id = own_id();
        while (!stop) continue;
    });
    while (id == 0) std::this_thread::yield();
    CHECK(wait_for(id, dl2::Activity::runs) == dl2::Activity::runs);
    const std::uint64_t before = dl2::read_thread_state(id).cpu_ns;
    std::uint64_t now = before;
    while (now == before) now = dl2::read_thread_state(id).cpu_ns;
    CHECK(now > before);
    stop = true;
    thread.join();
}

TEST_CASE("thread state: a sleep, a lock and the end of a thread are told apart") {
    std::atomic<int> id{0};
    std::mutex mutex;
    std::condition_variable changed;
    bool woken = false;
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    std::thread thread([&] {
        id = own_id();
        char byte;
        CHECK(read(ends[0], &byte, 1) == 1);
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return woken; });
    });
    while (id == 0) std::this_thread::yield();
    const dl2::Activity reads = wait_for(id, dl2::Activity::blocked);
    CHECK(reads == dl2::Activity::blocked);
    CHECK(write(ends[1], "x", 1) == 1);
    const dl2::Activity waits = wait_for(id, dl2::Activity::waits_for_lock);
    // Where the kernel does not name the call, it is blocked as far as one can tell.
    CHECK((waits == dl2::Activity::waits_for_lock || waits == dl2::Activity::blocked));
    {
        const std::lock_guard lock(mutex);
        woken = true;
    }
    changed.notify_one();
    thread.join();
    CHECK(wait_for(id, dl2::Activity::unknown) == dl2::Activity::unknown);
    CHECK(dl2::read_thread_state(id).cpu_ns == 0);
    for (const int end : ends) close(end);
}
