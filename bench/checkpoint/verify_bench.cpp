// Verifying a checkpoint (192 tensors of unequal size) beside reading the same bytes of the same
// file by plain pread in pieces of 1 MiB, which is the limit, in one run, in the current folder, on
// one rank. cold: the system was told to forget the file before each read, so that the bytes come
// from the disk; warm: they come from memory. CUBOID_BENCH_MIB (256) is the file's size.
#include <fcntl.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../harness/measure.hpp"
#include "../harness/memory.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/save.hpp"
#include "cuboid/checkpoint/scan.hpp"
#include "cuboid/checkpoint/verify.hpp"

namespace cuboid::harness {
namespace {

constexpr std::int64_t kNumTensors = 192;
constexpr std::int64_t kPieceBytes = std::int64_t{1} << 20;
constexpr const char* kFile = "verify_bench.h5";

// The file exists as long as this.
class File {
 public:
  File() {
    const std::int64_t mean_elements = (setting("CUBOID_BENCH_MIB", 256) << 18) / kNumTensors;
    const std::vector<float> values(static_cast<std::size_t>(2 * mean_elements), 0.5F);
    std::vector<TensorSlice> slices;
    for (std::int64_t t = 0; t < kNumTensors; ++t) {
      // From nothing to twice the mean, as biases and matrices are.
      const std::int64_t count = 2 * mean_elements * (t % 64) / 63;
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

bool is_alone(benchmark::State& state) {
  if (world().size() == 1) return true;
  state.SkipWithError("left out: one rank verifies a checkpoint");
  return false;
}

using Read = std::function<void()>;
double median_rate(benchmark::State& state, bool cold, const Read& read) {
  const auto bytes = static_cast<double>(the_file().bytes());
  const Read forget = [] { forget_cached(kFile); };
  const Read nothing = [] {};
  const Times times = measure(state, {.action = read, .prepare = cold ? forget : nothing});
  set_rate(state, times, "bytes", bytes);
  return bytes / times.median;
}

Read verify(int num_threads) {
  return [=] { verify_checkpoint(kFile, {.num_threads = num_threads}); };
}

Read plain_pread(int num_threads) {
  return [=] {
    const std::int64_t bytes = the_file().bytes();
    const auto make_worker = [&]() -> Worker {
      const auto file = std::make_shared<Descriptor>(open_file(kFile, O_RDONLY, kFile));
      return [=, buffer = std::vector<std::byte>(kPieceBytes)](std::int64_t item) mutable {
        const std::int64_t at = item * kPieceBytes;
        const auto count = static_cast<std::size_t>(std::min(kPieceBytes, bytes - at));
        read_at(*file, at, std::span(buffer).first(count), kFile);
      };
    };
    share_among_threads((bytes + kPieceBytes - 1) / kPieceBytes, num_threads, make_worker);
  };
}

void register_all() {
  for (const bool cold : {true, false})
    for (const int threads : {1, 2}) {
      const std::string end = format("/%s/threads_%d", cold ? "cold" : "warm", threads);
      // Of the plain read measured just before, with as many threads.
      static std::map<std::string, double> plain_rates;
      add("plain_pread" + end, [=](benchmark::State& state) {
        if (is_alone(state)) plain_rates[end] = median_rate(state, cold, plain_pread(threads));
      });
      add("verify" + end, [=](benchmark::State& state) {
        if (!is_alone(state)) return;
        const double rate = median_rate(state, cold, verify(threads));
        set_share(state, rate, {"plain pread", plain_rates[end]});
      });
    }
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
