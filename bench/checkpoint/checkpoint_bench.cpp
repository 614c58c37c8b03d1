// Saving and loading beside what the file system gives to as many bytes, in one run, in the current
// folder; the limit is the better of dd and mpiio. dd: the program, on rank 0, with fsync (written)
// or into /dev/null (read). mpiio: one collective MPI-IO call of all ranks for equal parts, with
// MPI_File_sync. rows, columns, blocks (columns of rows), replicas (every rank holds all; they
// share the writing): how the ranks hold each tensor. cold: the system has forgotten the file
// before; warm: it has all of it in memory. digest: the checksums alone.
//
// All things are measured in turn, in another order each round, so that what else the machine does
// hits all alike; that takes place before the first one that is reported. bytes: the file's.
// extra_bytes: memory that a save takes beyond the rank's own. CUBOID_BENCH_MIB (256) and
// CUBOID_BENCH_ROUNDS (9) change the size.
#include <mpi.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "../harness/measure.hpp"
#include "../harness/memory.hpp"
#include "cuboid/checkpoint/digest.hpp"
#include "cuboid/checkpoint/load.hpp"
#include "cuboid/checkpoint/save.hpp"
#include "cuboid/checkpoint/scan.hpp"

namespace cuboid::harness {
namespace {

constexpr std::int64_t kMib = std::int64_t{1} << 20;
constexpr std::int64_t kSide = 2048;  // of a tensor: 16 MiB
constexpr const char* kFile = "checkpoint_bench.h5";
constexpr const char* kPlain = "checkpoint_bench.raw";

std::int64_t num_tensors() {
  static const std::int64_t kCount =
      std::max<std::int64_t>(1, setting("CUBOID_BENCH_MIB", 256) * kMib / (kSide * kSide * 4));
  return kCount;
}
std::int64_t bytes_in_all() {
  return num_tensors() * kSide * kSide * 4;
}

enum class Holding { kRows, kColumns, kBlocks, kReplicas };

Box box_of(Holding holding) {
  Box box = whole(std::vector{kSide, kSide});
  const int num_columns = holding == Holding::kColumns                             ? world().size()
                          : holding == Holding::kBlocks && world().size() % 2 == 0 ? 2
                                                                                   : 1;
  if (holding == Holding::kReplicas) return box;
  const Range rows = even_part(kSide, world().size() / num_columns, world().rank() / num_columns);
  const Range columns = even_part(kSide, num_columns, world().rank() % num_columns);
  return {{rows.begin, columns.begin}, {rows.size(), columns.size()}};
}

// This rank's slices.
struct State {
  explicit State(Holding holding) {
    const Box box = box_of(holding);
    for (std::int64_t t = 0; t < num_tensors(); ++t) {
      values.emplace_back(static_cast<std::size_t>(volume(box.extent)), 0.5F);
      slices.push_back({.name = "parameters/" + std::to_string(t),
                        .shape = {kSide, kSide},
                        .offset = box.offset,
                        .extent = box.extent,
                        .data = buffer_of(std::span(values.back()))});
      if (holding != Holding::kReplicas) continue;
      shares.push_back(share_of(slices.back(), world().size(), world().rank()));
    }
  }
  [[nodiscard]] const std::vector<TensorSlice>& saved() const {
    return shares.empty() ? slices : shares;
  }
  std::vector<std::vector<float>> values;
  std::vector<TensorSlice> slices, shares;
};

Metadata metadata_of_bench() {
  Metadata metadata;
  metadata.grid = {.dp = world().size(), .tp = 1, .pp = 1};
  return metadata;
}

void save(const State& state) {
  save_checkpoint(kFile, MPI_COMM_WORLD, state.saved(), metadata_of_bench());
}
void load(const State& state) {
  load_checkpoint(kFile, MPI_COMM_WORLD, state.slices);
}

void sum_up(const State& state) {
  for (const TensorSlice& slice : state.slices)
    benchmark::DoNotOptimize(digest_sum(slice.dtype, slice.shape, slice.box(), slice.data.data));
}

// Runs a program on rank 0.
void run_on_first(std::vector<std::string> arguments) {
  if (world().rank() != 0) return;
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t child = 0;
  int status = 1;
  if (::posix_spawnp(&child, argv[0], nullptr, nullptr, argv.data(), environ) == 0)
    ::waitpid(child, &status, 0);
  if (status != 0) throw SystemError(arguments.front() + " failed");
}
void dd_write() {
  run_on_first({"dd", "status=none", "if=/dev/zero", "of=" + std::string(kPlain), "bs=16M",
                "conv=fsync", "iflag=count_bytes", "count=" + std::to_string(bytes_in_all())});
}
void dd_read() {
  run_on_first({"dd", "status=none", "if=" + std::string(kFile), "of=/dev/null", "bs=16M"});
}

// MPI counts in ints: so many bytes of this rank's part at a time.
void for_part(const std::function<void(std::int64_t offset, int count)>& move) {
  const Range part = even_part(bytes_in_all(), world().size(), world().rank());
  const std::int64_t step = 512 * kMib;
  const std::int64_t most = (bytes_in_all() + world().size() - 1) / world().size();
  for (std::int64_t at = 0; at < most; at += step)
    move(part.begin + std::min(at, part.size()),
         static_cast<int>(std::clamp<std::int64_t>(part.size() - at, 0, step)));
}
std::vector<std::byte>& block() {
  static std::vector<std::byte> bytes(static_cast<std::size_t>(
      std::min((bytes_in_all() + world().size() - 1) / world().size(), 512 * kMib)));
  return bytes;
}
void mpiio_write() {
  MPI_File file = MPI_FILE_NULL;
  MPI_File_open(MPI_COMM_WORLD, kPlain, MPI_MODE_CREATE | MPI_MODE_WRONLY, MPI_INFO_NULL, &file);
  for_part([&](std::int64_t offset, int count) {
    MPI_File_write_at_all(file, offset, block().data(), count, MPI_BYTE, MPI_STATUS_IGNORE);
  });
  MPI_File_sync(file);
  MPI_File_close(&file);
}
void mpiio_read() {
  MPI_File file = MPI_FILE_NULL;
  MPI_File_open(MPI_COMM_WORLD, kFile, MPI_MODE_RDONLY, MPI_INFO_NULL, &file);
  for_part([&](std::int64_t offset, int count) {
    MPI_File_read_at_all(file, offset, block().data(), count, MPI_BYTE, MPI_STATUS_IGNORE);
  });
  MPI_File_close(&file);
}

void remove_files() {
  MPI_Barrier(MPI_COMM_WORLD);
  if (world().rank() == 0) ::unlink(kFile);
  if (world().rank() == 0) ::unlink(kPlain);
  MPI_Barrier(MPI_COMM_WORLD);
}

struct Measured {
  std::string name;  // "write/dd"
  std::function<void()> prepare;
  std::function<void()> run;
  std::vector<double> seconds;  // of the slowest rank, by round
  double extra_bytes = 0;
  [[nodiscard]] double median() const {
    auto sorted = seconds;
    std::ranges::sort(sorted);
    return sorted[sorted.size() / 2];
  }
  [[nodiscard]] std::string group() const { return name.substr(0, name.find('/')); }
  [[nodiscard]] bool is_reference() const {
    return name.ends_with("/dd") || name.ends_with("/mpiio");
  }
};

constexpr std::array<std::pair<const char*, Holding>, 4> kHoldings = {
    {{"rows", Holding::kRows},
     {"columns", Holding::kColumns},
     {"blocks", Holding::kBlocks},
     {"replicas", Holding::kReplicas}}};

std::vector<Measured> things_to_measure() {
  static std::vector<State> states;
  states.reserve(kHoldings.size());
  std::vector<Measured> all;
  const auto forget = [] { forget_cached(kFile); };
  all.push_back({"save/dd", remove_files, dd_write, {}});
  all.push_back({"save/mpiio", remove_files, mpiio_write, {}});
  all.push_back({"load_cold/dd", forget, dd_read, {}});
  all.push_back({"load_cold/mpiio", forget, mpiio_read, {}});
  all.push_back({"load_warm/dd", dd_read, dd_read, {}});
  all.push_back({"load_warm/mpiio", dd_read, mpiio_read, {}});
  for (const auto& [name, holding] : kHoldings) {
    const State& state = states.emplace_back(holding);
    const std::string end = std::string("/") + name;
    all.push_back({"save" + end, remove_files, [&state] { save(state); }, {}});
    all.push_back({"load_cold" + end, forget, [&state] { load(state); }, {}});
    all.push_back({"load_warm" + end, dd_read, [&state] { load(state); }, {}});
  }
  all.push_back({"digest/rows", [] {}, [] { sum_up(states.front()); }, {}});
  return all;
}

double seconds_of(const Measured& thing) {
  if (thing.name.starts_with("load") && ::access(kFile, F_OK) != 0) save(State(Holding::kRows));
  thing.prepare();
  return slowest(thing.run);
}

// The rise of the peak, of the rank where it is highest.
double extra_bytes_of(const Measured& thing) {
  thing.prepare();
  const double before = restart_peak_bytes();
  thing.run();
  return world().largest(peak_bytes() - before);
}

const std::vector<Measured>& measurements() {
  static const std::vector<Measured> kMeasured = [] {
    auto all = things_to_measure();
    for (Measured& thing : all)
      if (thing.name.starts_with("save") && !thing.is_reference())
        thing.extra_bytes = extra_bytes_of(thing);
    std::vector<std::size_t> order(all.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::mt19937 random(1);  // NOLINT(bugprone-random-generator-seed): the same on all ranks
    for (std::int64_t round = 0; round < setting("CUBOID_BENCH_ROUNDS", 9); ++round) {
      std::ranges::shuffle(order, random);
      for (const std::size_t i : order) all[i].seconds.push_back(seconds_of(all[i]));
    }
    remove_files();
    return all;
  }();
  return kMeasured;
}

void report_one(benchmark::State& state, const std::string& name) {
  const Measured* mine = nullptr;
  double best = 0;
  for (const Measured& other : measurements()) {
    if (other.name == name) mine = &other;
    if (other.is_reference() && name.starts_with(other.group() + "/"))
      best = best == 0 ? other.median() : std::min(best, other.median());
  }
  const Times times = report(state, mine->seconds);
  const auto bytes = static_cast<double>(bytes_in_all());
  const bool has_limit = !mine->is_reference() && best > 0;
  set_rate(state, times, "bytes", bytes, {"dd or MPI-IO", has_limit ? bytes / best : 0});
  if (name.starts_with("save") && has_limit) state.counters["extra_bytes"] = mine->extra_bytes;
}

void register_all() {
  const auto add_one = [](const std::string& name) {
    add(name, [name](benchmark::State& state) { report_one(state, name); });
  };
  for (const char* group : {"save", "load_cold", "load_warm"})
    for (const char* what : {"dd", "mpiio", "rows", "columns", "blocks", "replicas"})
      add_one(std::string(group) + "/" + what);
  add_one("digest/rows");
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
