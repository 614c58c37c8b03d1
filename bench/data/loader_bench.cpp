// The data's way to the trainer: batches through the loader, the check of token ids, the sampler
// alone; every rank of its own file, from the page cache. Limit: copies of as many bytes, by all
// ranks at once.
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

#include "../harness/measure.hpp"
#include "cuboid/base/philox.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/data/batch_loader.hpp"
#include "cuboid/data/token_sequence.hpp"

namespace cuboid::harness {
namespace {

constexpr std::int64_t kFileTokens = std::int64_t{32} << 20;  // 64 MiB of uint16

// A nanoGPT file of random ids, one for each rank; removed at the end of the program.
class TokensOnDisk {
 public:
  TokensOnDisk() {
    std::vector<std::uint16_t> ids(static_cast<std::size_t>(kFileTokens));
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto block = philox(1, 2, i / 4);
      ids[i] = static_cast<std::uint16_t>(block.word[i % 4] % 50257);
    }
    path_ = (std::filesystem::temp_directory_path() /
             format("cuboid-loader-bench-%d-%d.bin", static_cast<int>(::getpid()), world().rank()))
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

// tokens/s of all ranks together.
void set_rates(benchmark::State& state, const Times& times, double tokens, int bytes_each) {
  const int ranks = world().size();
  state.counters["tokens"] = tokens * ranks;
  state.counters["tokens/s"] = tokens * ranks / times.median;
  const double bytes = tokens * bytes_each * ranks;
  set_rate(state, times, "bytes", bytes, copy_limit(bytes));
}

// Bytes: what is read (2 a token) and written (two int64).
void read_batches(benchmark::State& state, std::int64_t length, std::int64_t sequences) {
  const BatchReader reader(split(), order_of(TrainSampler(kFileTokens, length, 1)),
                           {length, sequences, 1, 1, 0});
  Batch batch;
  std::int64_t consumed = 0;
  const Times times = measure(state, {.action = [&] {
                                reader.read(consumed, batch);
                                consumed += sequences;
                                benchmark::DoNotOptimize(batch.tokens.data());
                              }});
  set_rates(state, times, static_cast<double>(length * sequences), 18);
}

// The time of next() when the step takes 5 ms: what the trainer waits for data.
void wait_for_next(benchmark::State& state, std::int64_t length, std::int64_t sequences) {
  BatchLoader loader(BatchReader(split(), order_of(TrainSampler(kFileTokens, length, 1)),
                                 {length, sequences, 1, 1, 0}));
  std::vector<double> seconds;
  const double wanted = world().settings().min_seconds;
  do {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    seconds.push_back(slowest([&] { benchmark::DoNotOptimize(loader.next().tokens.data()); }));
  } while (static_cast<double>(seconds.size()) * 5e-3 < wanted);
  report(state, std::move(seconds));
}

void check_ids(benchmark::State& state) {
  const TokenFile file(tokens_on_disk().path());
  const Times times = measure(state, {.action = [&] {
                                auto bad = file.find_bad_id(0, kFileTokens, 50257);
                                benchmark::DoNotOptimize(bad);
                              }});
  set_rates(state, times, static_cast<double>(kFileTokens), 2);
}

void sample_ids(benchmark::State& state) {
  const TrainSampler sampler(std::int64_t{10} << 30, 1024, 1);
  std::int64_t consumed = 0;
  const Times times =
      measure(state, {.action = [&] { benchmark::DoNotOptimize(sampler.at(consumed++)); }});
  state.counters["ids/s"] = world().size() / times.median;
}

void register_all() {
  for (const auto& [length, sequences] :
       {std::pair<std::int64_t, std::int64_t>(64, 12), {256, 4}, {1024, 64}}) {
    const std::string shape = "/" + std::to_string(sequences) + "x" + std::to_string(length);
    add("read_batch" + shape,
        [=](benchmark::State& state) { read_batches(state, length, sequences); });
    add("wait_for_next" + shape,
        [=](benchmark::State& state) { wait_for_next(state, length, sequences); });
  }
  add("check_ids", check_ids);
  add("sample_id", sample_ids);
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
