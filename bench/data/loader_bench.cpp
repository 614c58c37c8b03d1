// The data's way to the trainer beside this machine's memory-copy rate: batches through the loader,
// the check of token ids, the sampler alone.
#include <benchmark/benchmark.h>
#include <mpi.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

#include "cuboid/base/philox.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/data/batch_loader.hpp"
#include "cuboid/data/token_sequence.hpp"

namespace cuboid {
namespace {

constexpr std::int64_t kFileTokens = std::int64_t{64} << 20;  // 128 MiB of uint16

// A nanoGPT file of random ids, one for each rank; removed at the end of the program.
class TokensOnDisk {
 public:
  TokensOnDisk() {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    std::vector<std::uint16_t> ids(static_cast<std::size_t>(kFileTokens));
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto block = philox(1, 2, i / 4);
      ids[i] = static_cast<std::uint16_t>(block.word[i % 4] % 50257);
    }
    path_ = (std::filesystem::temp_directory_path() /
             format("cuboid-loader-bench-%d-%d.bin", static_cast<int>(::getpid()), rank))
                .string();
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(ids.data()),
               static_cast<std::streamsize>(ids.size() * sizeof(ids[0])));
  }
  TokensOnDisk(const TokensOnDisk&) = delete;
  TokensOnDisk& operator=(const TokensOnDisk&) = delete;
  ~TokensOnDisk() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

const TokensOnDisk& tokens_on_disk() {
  static const TokensOnDisk kTokens;
  return kTokens;
}

TokenSplit split() {
  std::vector<TokenFile> files;
  files.emplace_back(tokens_on_disk().path());
  return {std::make_shared<const TokenSequence>(std::move(files), 50257), {0, kFileTokens}};
}

void set_rates(benchmark::State& state, double tokens, double bytes) {
  state.counters["tokens/s"] = benchmark::Counter(tokens, benchmark::Counter::kIsRate);
  state.counters["bytes/s"] =
      benchmark::Counter(bytes, benchmark::Counter::kIsRate, benchmark::Counter::OneK::kIs1024);
}

// bytes/s: what is read (2 bytes a token) and written (two int64).
void read_batches(benchmark::State& state) {
  const std::int64_t length = state.range(0), sequences = state.range(1);
  const BatchReader reader(split(), order_of(TrainSampler(kFileTokens, length, 1)),
                           {length, sequences, 1, 1, 0});
  Batch batch;
  std::int64_t consumed = 0;
  for (auto _ : state) {
    reader.read(consumed, batch);
    consumed += sequences;
    benchmark::DoNotOptimize(batch.tokens.data());
  }
  const auto tokens = static_cast<double>(state.iterations() * length * sequences);
  set_rates(state, tokens, tokens * 18);
}
BENCHMARK(read_batches)->Args({64, 12})->Args({256, 4})->Args({1024, 64})->Iterations(200);

// The time of next() when the step takes 5 ms: what the trainer waits for data.
void wait_for_next(benchmark::State& state) {
  const std::int64_t length = state.range(0), sequences = state.range(1);
  BatchLoader loader(BatchReader(split(), order_of(TrainSampler(kFileTokens, length, 1)),
                                 {length, sequences, 1, 1, 0}));
  for (auto _ : state) {
    benchmark::DoNotOptimize(loader.next().tokens.data());
    state.PauseTiming();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    state.ResumeTiming();
  }
}
BENCHMARK(wait_for_next)->Args({64, 12})->Args({1024, 64})->Iterations(100)->UseRealTime();

void check_ids(benchmark::State& state) {
  const TokenFile file(tokens_on_disk().path());
  for (auto _ : state) {
    auto bad = file.find_bad_id(0, kFileTokens, 50257);
    benchmark::DoNotOptimize(bad);
  }
  const auto tokens = static_cast<double>(state.iterations() * kFileTokens);
  set_rates(state, tokens, tokens * 2);
}
BENCHMARK(check_ids)->Iterations(10);

void sample_ids(benchmark::State& state) {
  const TrainSampler sampler(std::int64_t{10} << 30, 1024, 1);
  std::int64_t consumed = 0;
  for (auto _ : state) benchmark::DoNotOptimize(sampler.at(consumed++));
  state.counters["samples/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}
BENCHMARK(sample_ids)->Iterations(200000);

// bytes/s counts what is read and what is written, as above.
void copy_memory(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  std::vector<char> from(bytes, 1), to(bytes);
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), bytes);
    benchmark::ClobberMemory();
  }
  state.counters["bytes/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * 2 * static_cast<double>(bytes),
                         benchmark::Counter::kIsRate, benchmark::Counter::OneK::kIs1024);
}
BENCHMARK(copy_memory)->Arg(1 << 20)->Arg(256 << 20)->Iterations(20);

}  // namespace
}  // namespace cuboid
