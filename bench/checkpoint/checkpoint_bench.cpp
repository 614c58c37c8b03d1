// Saving and loading 256 MiB beside plain writing of as many bytes in the same
// folder (the current one), in one run: plain_write is one process's write(2) and fsync,
// mpiio_write a collective MPI-IO write of all ranks' equal parts and fsync. rows, columns: how the
// ranks share each tensor. Loads come from the page cache. digest is the checksum alone, on one
// rank's share.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <mpi.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "cuboid/base/timer.hpp"
#include "cuboid/checkpoint/digest.hpp"
#include "cuboid/checkpoint/file.hpp"
#include "cuboid/checkpoint/load.hpp"
#include "cuboid/checkpoint/save.hpp"

namespace cuboid {
namespace {

constexpr std::int64_t kNumTensors = 16;
constexpr std::int64_t kSide = 2048;  // 16 MiB a tensor
constexpr std::int64_t kBytes = kNumTensors * kSide * kSide * 4;
constexpr int kIterations = 7;
constexpr const char* kFile = "checkpoint_bench.h5";

int rank_of_world() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}
int size_of_world() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

// This rank's slices of the tensors, cut along `dim`.
struct State {
  explicit State(std::size_t dim) {
    const Range part = even_part(kSide, size_of_world(), rank_of_world());
    for (std::int64_t t = 0; t < kNumTensors; ++t) {
      Box box = whole(std::vector{kSide, kSide});
      box.offset[dim] = part.begin;
      box.extent[dim] = part.size();
      values.emplace_back(static_cast<std::size_t>(part.size() * kSide),
                          static_cast<float>(rank_of_world()) + 0.5F);
      slices.push_back({.name = "parameters/" + std::to_string(t),
                        .shape = {kSide, kSide},
                        .offset = box.offset,
                        .extent = box.extent,
                        .data = buffer_of(std::span(values.back()))});
    }
  }
  std::vector<std::vector<float>> values;
  std::vector<TensorSlice> slices;
};

void remove_file() {
  MPI_Barrier(MPI_COMM_WORLD);
  if (rank_of_world() == 0) ::unlink(kFile);
  MPI_Barrier(MPI_COMM_WORLD);
}

// Times `action` on the slowest rank.
void measure(benchmark::State& state, bool starts_without_file,
             const std::function<void()>& action) {
  for (auto _ : state) {
    if (starts_without_file) remove_file();
    MPI_Barrier(MPI_COMM_WORLD);
    const Timer timer;
    action();
    double seconds = timer.seconds();
    MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    state.SetIterationTime(seconds);
  }
  state.SetBytesProcessed(state.iterations() * kBytes);
}

Metadata metadata_of_bench() {
  Metadata metadata;
  metadata.grid = {.dp = size_of_world(), .tp = 1, .pp = 1};
  return metadata;
}

void save(benchmark::State& state, std::size_t dim) {
  const State mine(dim);
  measure(state, true,
          [&] { save_checkpoint(kFile, MPI_COMM_WORLD, mine.slices, metadata_of_bench()); });
  remove_file();
}

void load(benchmark::State& state, std::size_t dim) {
  const State mine(dim);
  save_checkpoint(kFile, MPI_COMM_WORLD, mine.slices, metadata_of_bench());
  measure(state, false, [&] { load_checkpoint(kFile, MPI_COMM_WORLD, mine.slices); });
  remove_file();
}

void plain_write(benchmark::State& state) {
  const std::vector<std::byte> block(std::size_t{16} << 20, std::byte{1});
  measure(state, true, [&] {
    if (rank_of_world() != 0) return;
    const Descriptor file = open_file(kFile, O_CREAT | O_WRONLY, kFile);
    for (std::int64_t at = 0; at < kBytes; at += static_cast<std::int64_t>(block.size()))
      write_at(file, at, block, kFile);
    ::fsync(file.get());
  });
  remove_file();
}

void mpiio_write(benchmark::State& state) {
  const Range part = even_part(kBytes, size_of_world(), rank_of_world());
  const std::vector<std::byte> block(static_cast<std::size_t>(part.size()), std::byte{1});
  measure(state, true, [&] {
    MPI_File file = MPI_FILE_NULL;
    MPI_File_open(MPI_COMM_WORLD, kFile, MPI_MODE_CREATE | MPI_MODE_WRONLY, MPI_INFO_NULL, &file);
    MPI_File_write_at_all(file, part.begin, block.data(), static_cast<int>(block.size()), MPI_BYTE,
                          MPI_STATUS_IGNORE);
    MPI_File_sync(file);
    MPI_File_close(&file);
  });
  remove_file();
}

void digest(benchmark::State& state) {
  const State mine(0);
  measure(state, false, [&] {
    for (const TensorSlice& slice : mine.slices)
      benchmark::DoNotOptimize(digest_sum(slice.dtype, slice.shape, slice.box(), slice.data.data));
  });
}

const auto* const kRegistered = [] {
  const auto add = [](const char* name, const std::function<void(benchmark::State&)>& run) {
    return benchmark::RegisterBenchmark(name, run)
        ->Iterations(kIterations)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  };
  add("plain_write", plain_write);
  add("mpiio_write", mpiio_write);
  add("save/rows", [](benchmark::State& state) { save(state, 0); });
  add("save/columns", [](benchmark::State& state) { save(state, 1); });
  add("load/rows", [](benchmark::State& state) { load(state, 0); });
  add("load/columns", [](benchmark::State& state) { load(state, 1); });
  return add("digest", digest);
}();

}  // namespace
}  // namespace cuboid
