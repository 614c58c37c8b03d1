// Verifying a checkpoint of 1 GiB (192 tensors of unequal size) beside reading the same bytes of
// the same file by plain pread in pieces of 1 MiB, in one run, in the current folder, on one rank.
// cold: the system was told to forget the file before each read, so that the bytes come from the
// disk; warm: they come from memory. The number is that of threads.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuboid/base/timer.hpp"
#include "cuboid/checkpoint/save.hpp"
#include "cuboid/checkpoint/scan.hpp"
#include "cuboid/checkpoint/verify.hpp"

namespace cuboid {
namespace {

constexpr std::int64_t kNumTensors = 192;
constexpr std::int64_t kMeanElements = (std::int64_t{1} << 28) / kNumTensors;
constexpr std::int64_t kPieceBytes = std::int64_t{1} << 20;
constexpr int kIterations = 5;
constexpr const char* kFile = "verify_bench.h5";

// The file exists as long as this.
class File {
 public:
  File() {
    const std::vector<float> values(static_cast<std::size_t>(2 * kMeanElements), 0.5F);
    std::vector<TensorSlice> slices;
    for (std::int64_t t = 0; t < kNumTensors; ++t) {
      // From nothing to twice the mean, as biases and matrices are.
      const std::int64_t count = 2 * kMeanElements * (t % 64) / 63;
      slices.push_back({.name = "parameters/" + std::to_string(t),
                        .shape = {count},
                        .offset = {0},
                        .extent = {count},
                        .data = {const_cast<float*>(values.data()), count}});
    }
    Metadata metadata;
    metadata.grid = {.dp = 1, .tp = 1, .pp = 1};
    save_checkpoint(kFile, MPI_COMM_SELF, slices, metadata);
    bytes_ = size_of_file(open_file(kFile, O_RDONLY, kFile), kFile);
  }
  ~File() { ::unlink(kFile); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }

 private:
  std::int64_t bytes_ = 0;
};

const File& the_file() {
  static const File file;
  return file;
}

void measure(benchmark::State& state, bool cold, const std::function<void()>& read) {
  const std::int64_t bytes = the_file().bytes();
  read();  // what was written last may be in memory in part
  for (auto _ : state) {
    if (cold) forget_cached(kFile);
    const Timer timer;
    read();
    state.SetIterationTime(timer.seconds());
  }
  state.SetBytesProcessed(state.iterations() * bytes);
}

void verify(benchmark::State& state, bool cold) {
  const int num_threads = static_cast<int>(state.range(0));
  measure(state, cold, [&] { verify_checkpoint(kFile, {.num_threads = num_threads}); });
}

void plain_pread(benchmark::State& state, bool cold) {
  const std::int64_t bytes = the_file().bytes();
  measure(state, cold, [&] {
    const auto make_worker = [&]() -> Worker {
      const auto file = std::make_shared<Descriptor>(open_file(kFile, O_RDONLY, kFile));
      return [=, buffer = std::vector<std::byte>(kPieceBytes)](std::int64_t item) mutable {
        const std::int64_t at = item * kPieceBytes;
        const auto count = static_cast<std::size_t>(std::min(kPieceBytes, bytes - at));
        read_at(*file, at, std::span(buffer).first(count), kFile);
      };
    };
    share_among_threads((bytes + kPieceBytes - 1) / kPieceBytes, static_cast<int>(state.range(0)),
                        make_worker);
  });
}

const auto* const kRegistered = [] {
  const auto add = [](const std::string& name, const std::function<void(benchmark::State&)>& run) {
    return benchmark::RegisterBenchmark(name.c_str(), run)
        ->Arg(1)
        ->Arg(2)
        ->Iterations(kIterations)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  };
  add("plain_pread/cold", [](benchmark::State& state) { plain_pread(state, true); });
  add("verify/cold", [](benchmark::State& state) { verify(state, true); });
  add("plain_pread/warm", [](benchmark::State& state) { plain_pread(state, false); });
  return add("verify/warm", [](benchmark::State& state) { verify(state, false); });
}();

}  // namespace
}  // namespace cuboid
