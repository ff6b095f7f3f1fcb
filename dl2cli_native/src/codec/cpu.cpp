#include "codec/cpu.hpp"

#include <atomic>
#include <cstdlib>
#include <string>

#include "dl2/error.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace dl2::codec {
namespace {

constexpr Isa kAll[] = {Isa::portable, Isa::avx2, Isa::avx512};

// __builtin_cpu_supports also asks whether the operating system saves the wide registers.
bool supported(Isa isa) {
#if defined(__x86_64__)
    switch (isa) {
        case Isa::portable:
            return true;
        case Isa::avx2:
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                   __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
        case Isa::avx512:
            return supported(Isa::avx2) && __builtin_cpu_supports("avx512f") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd") &&
                   __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2");
    }
#endif
    return isa == Isa::portable;
}

void require(Isa isa) {
    if (supported(isa)) return;
    throw Error(ErrorKind::argument,
                std::string("this processor cannot run the codec's ") + name(isa) + " code");
}

// What DL2_CODEC_ISA says; null if nothing.
const char* wanted_isa() {
    const char* const wanted = std::getenv("DL2_CODEC_ISA");
    return wanted == nullptr || *wanted == 0 ? nullptr : wanted;
}

Isa choose() {
    const char* const wanted = wanted_isa();
    if (wanted == nullptr) return available_isas().back();
    for (const Isa isa : kAll) {
        if (std::string(wanted) != name(isa)) continue;
        require(isa);
        return isa;
    }
    throw Error(ErrorKind::argument,
                std::string("DL2_CODEC_ISA must be avx512, avx2 or portable, ") + "not " + wanted);
}

std::atomic<Isa>& current() {
    static std::atomic<Isa> isa{choose()};
    return isa;
}

std::atomic<bool>& chosen_by_hand() {
    static std::atomic<bool> chosen{wanted_isa() != nullptr};
    return chosen;
}

bool find_fast_pdep() {
#if defined(__x86_64__)
    if (!supported(Isa::avx2)) return false;
    if (!__builtin_cpu_is("amd")) return true;
    unsigned eax = 0;
    unsigned ebx = 0;
    unsigned ecx = 0;
    unsigned edx = 0;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return false;
    const unsigned family = ((eax >> 8) & 15u) + ((eax >> 20) & 255u);
    constexpr unsigned kZen3 = 0x19;
    return family >= kZen3;
#else
    return false;
#endif
}

}  // namespace

Isa isa() {
    return current().load(std::memory_order_relaxed);
}

std::vector<Isa> available_isas() {
    std::vector<Isa> found;
    for (const Isa isa : kAll) {
        if (supported(isa)) found.push_back(isa);
    }
    return found;
}

void use_isa(Isa wanted) {
    require(wanted);
    current().store(wanted, std::memory_order_relaxed);
    chosen_by_hand().store(true, std::memory_order_relaxed);
}

bool decoding_pays() {
    return isa() != Isa::portable || chosen_by_hand().load(std::memory_order_relaxed);
}

bool has_fast_pdep() {
    static const bool fast = find_fast_pdep();
    return fast;
}

const char* name(Isa isa) {
    switch (isa) {
        case Isa::avx512:
            return "avx512";
        case Isa::avx2:
            return "avx2";
        case Isa::portable:
            break;
    }
    return "portable";
}

}  // namespace dl2::codec
