// Times the native decoder and libjpeg-turbo on the same images, in turn, on one thread:
// `bench_codec ROUNDS < NAMES`, where NAME.jpg is a baseline JPEG and NAME.pjpg the same in ten
// scans. Prints a line for each measurement: its name and the mean over the images of the median
// milliseconds of CPU time. bench_codec.py makes the images and reads the lines.
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "codec/cpu.hpp"
#include "codec/decode/read_coefficients.hpp"
#include "dl2/jpeg/header.hpp"
#include "dl2/jpeg/region.hpp"
#include "jpeg/reader.hpp"

namespace {

using dl2::Bytes;
using Data = std::vector<std::uint8_t>;

struct Image {
    Data baseline;
    Data progressive;
    std::vector<std::size_t> scans;  // where each begins; the last entry ends the last
    dl2::Region whole;
    dl2::Region crop;

    Bytes prefix(std::size_t k) const {
        return Bytes(progressive).slice(0, scans[std::min(k, scans.size() - 1)]);
    }
};

Data read_file(const std::string& name) {
    std::ifstream file(name, std::ios::binary);
    if (!file) {
        std::fprintf(stderr, "cannot open %s\n", name.c_str());
        std::exit(1);
    }
    return Data(std::istreambuf_iterator<char>(file), {});
}

// A random resized crop as torchvision draws it.
dl2::Region random_crop(std::mt19937& random, double width, double height) {
    const auto uniform = [&](double low, double high) {
        return std::uniform_real_distribution<double>(low, high)(random);
    };
    for (int attempt = 0; attempt < 10; ++attempt) {
        const double area = uniform(0.08, 1) * width * height;
        const double ratio = std::exp(uniform(std::log(3.0 / 4), std::log(4.0 / 3)));
        const auto w = static_cast<std::uint32_t>(std::lround(std::sqrt(area * ratio)));
        const auto h = static_cast<std::uint32_t>(std::lround(std::sqrt(area / ratio)));
        if (w == 0 || h == 0 || w > width || h > height) continue;
        const auto x = static_cast<std::uint32_t>(random() % (std::uint32_t(width) - w + 1));
        const auto y = static_cast<std::uint32_t>(random() % (std::uint32_t(height) - h + 1));
        return {x, y, x + w, y + h};
    }
    return {0, 0, static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height)};
}

double cpu_ms() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
}

struct NoSink : dl2::RowSink {
    void rows(const std::uint8_t*, std::size_t, std::uint32_t) override {}
};

void must(bool good, const char* reason) {
    if (good) return;
    std::fprintf(stderr, "%s\n", reason);
    std::exit(1);
}

void read_libjpeg_coefficients(Bytes jpeg) {
    dl2::Reader reader(&jpeg, 1, false, dl2::Limits());
    auto read = [&] { jpeg_read_coefficients(&reader.in); };
    reader.run(read);
}

// The memory of one thread of each kind.
struct Decoders {
    dl2::codec::ParsedJpeg parsed;
    dl2::codec::ReaderMemory reader;
    dl2::DecodeMemory memory;

    void coefficients(Bytes jpeg, dl2::Codec codec) {
        if (codec == dl2::Codec::libjpeg) return read_libjpeg_coefficients(jpeg);
        const char* declined = dl2::codec::parse(&jpeg, 1, dl2::Limits(), parsed);
        if (declined == nullptr) declined = dl2::codec::read_coefficients(parsed, reader);
        must(declined == nullptr, declined);
    }

    void pixels(Bytes jpeg, const dl2::Region& region, dl2::Codec codec) {
        dl2::RegionDecoder decoder(&jpeg, 1, {false, false, {}, codec}, memory);
        NoSink sink;
        decoder.decode(region, sink);
        must(codec == dl2::Codec::libjpeg || decoder.native(), "the native codec declined");
    }
};

struct Measurement {
    std::string name;
    std::function<void(const Image&)> run;
    std::vector<std::vector<double>> ms;  // by image and round
};

std::vector<Measurement> all_measurements(Decoders& decoders) {
    std::vector<Measurement> all;
    for (const dl2::Codec codec : {dl2::Codec::libjpeg, dl2::Codec::native}) {
        const std::string who = codec == dl2::Codec::native ? "native" : "libjpeg";
        const auto add = [&](const std::string& what, std::function<void(const Image&)> run) {
            all.push_back({who + " " + what, std::move(run), {}});
        };
        add("coefficients baseline", [&decoders, codec](const Image& image) {
            decoders.coefficients(image.baseline, codec);
        });
        add("pixels baseline", [&decoders, codec](const Image& image) {
            decoders.pixels(image.baseline, image.whole, codec);
        });
        add("crop baseline", [&decoders, codec](const Image& image) {
            decoders.pixels(image.baseline, image.crop, codec);
        });
        for (const std::size_t k : {1, 2, 5, 10}) {
            const std::string scans = "k=" + std::to_string(k);
            add("coefficients " + scans, [&decoders, codec, k](const Image& image) {
                decoders.coefficients(image.prefix(k), codec);
            });
            add("pixels " + scans, [&decoders, codec, k](const Image& image) {
                decoders.pixels(image.prefix(k), image.whole, codec);
            });
            add("crop " + scans, [&decoders, codec, k](const Image& image) {
                decoders.pixels(image.prefix(k), image.crop, codec);
            });
        }
    }
    return all;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
    must(argc == 2, "usage: bench_codec ROUNDS < NAMES");
    const int rounds = std::atoi(argv[1]);
    std::vector<Image> images;
    std::mt19937 random(7);
    for (std::string name; std::getline(std::cin, name);) {
        Image image{read_file(name + ".jpg"), read_file(name + ".pjpg"), {}, {}, {}};
        image.scans = dl2::find_scans(image.progressive, 100);
        const dl2::JpegHeader header = dl2::read_jpeg_header(image.baseline, dl2::Limits());
        image.whole = {0, 0, header.width, header.height};
        image.crop = random_crop(random, header.width, header.height);
        images.push_back(std::move(image));
    }
    must(!images.empty(), "no images");
    Decoders decoders;
    std::vector<Measurement> all = all_measurements(decoders);
    for (Measurement& each : all) each.ms.resize(images.size());
    for (int round = -1; round < rounds; ++round) {  // the first warms up
        for (std::size_t i = 0; i < images.size(); ++i) {
            for (Measurement& each : all) {
                const double begin = cpu_ms();
                each.run(images[i]);
                if (round >= 0) each.ms[i].push_back(cpu_ms() - begin);
            }
        }
    }
    std::printf("%s\n", dl2::codec::name(dl2::codec::isa()));
    for (const Measurement& each : all) {
        double sum = 0;
        for (const std::vector<double>& times : each.ms) sum += median(times);
        std::printf("%s\t%.5f\n", each.name.c_str(), sum / static_cast<double>(images.size()));
    }
}
