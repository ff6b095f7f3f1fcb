// The limit of any conversion: libjpeg-turbo alone, transcoding JPEGs from memory to memory on N
// threads, with nothing around it. Usage: transcode_limit THREADS < LIST_OF_FILES; prints the wall
// and the CPU seconds.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <jpeglib.h>

namespace {

void transcode(std::vector<unsigned char>& jpeg, unsigned char** memory, unsigned long* capacity) {
    jpeg_error_mgr errors;
    jpeg_decompress_struct in{};
    jpeg_compress_struct out{};
    in.err = out.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&in);
    jpeg_create_compress(&out);
    jpeg_mem_src(&in, jpeg.data(), jpeg.size());
    jpeg_read_header(&in, TRUE);
    jvirt_barray_ptr* coefficients = jpeg_read_coefficients(&in);
    jpeg_copy_critical_parameters(&in, &out);
    jpeg_simple_progression(&out);
    unsigned long size = *capacity;
    jpeg_mem_dest(&out, memory, &size);
    jpeg_write_coefficients(&out, coefficients);
    jpeg_finish_compress(&out);
    jpeg_destroy_compress(&out);
    jpeg_destroy_decompress(&in);
}

}  // namespace

int main(int, char** arguments) {
    std::vector<std::vector<unsigned char>> jpegs;
    for (std::string path; std::getline(std::cin, path);) {
        std::ifstream file(path, std::ios::binary);
        jpegs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
        unsigned long capacity = 16 << 20;
        auto* memory = static_cast<unsigned char*>(std::malloc(capacity));
        for (std::size_t i = next++; i < jpegs.size(); i = next++) {
            transcode(jpegs[i], &memory, &capacity);
        }
        std::free(memory);
    };
    const auto start = std::chrono::steady_clock::now();
    const std::clock_t cpu_start = std::clock();
    std::vector<std::thread> threads;
    for (int i = 0; i < std::atoi(arguments[1]); ++i) threads.emplace_back(work);
    for (auto& thread : threads) thread.join();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const double cpu_s = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
    std::printf("%.6f %.6f\n", seconds.count(), cpu_s);
}
