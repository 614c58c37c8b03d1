#include "limits.hpp"

#include <ATen/ops/ones.h>
#include <fcntl.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <vector>

#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/scan.hpp"
#include "cuboid/model/tensor_buffer.hpp"
#include "cuboid/trainer/peak.hpp"
#include "measure.hpp"

namespace cuboid::harness {
namespace {

constexpr int kRounds = 5;

// Seconds of one action in the fastest of at least 5 rounds, more where they are short; short
// actions many times in a row.
double fastest(const std::function<void()>& action) {
  constexpr double kAll = 0.05;
  constexpr double kRound = 100e-6;
  slowest(action);
  double best = slowest(action);
  const int repeats = static_cast<int>(std::clamp(kRound / best, 1.0, 1000.0));
  double total = 0;
  for (int i = 0; i < kRounds || (total < kAll && i < 100); ++i) {
    const double seconds = slowest([&] {
      for (int k = 0; k < repeats; ++k) action();
    });
    total += seconds;
    best = std::min(best, seconds / repeats);
  }
  return best;
}

std::string file_name() {
  return format("cuboid_bench_limit_%d.raw", world().rank());
}

std::vector<std::byte>& file_block() {
  static std::vector<std::byte> block(std::size_t{4} << 20, std::byte{1});
  return block;
}
std::int64_t num_blocks() {
  return file_bytes() / static_cast<std::int64_t>(file_block().size());
}

}  // namespace

Limit product_limit(c10::ScalarType type) {
  static std::map<c10::ScalarType, double> best;
  static std::map<c10::ScalarType, int> asked;
  constexpr int kRefresh = 8;
  const bool quick = world().settings().min_seconds == 0;
  const int times_before = asked[type]++;
  if (quick ? times_before > 0 : times_before % kRefresh != 0) return {"products", best[type]};
  const auto control = make_communicator(Backend::kMpi, MPI_COMM_WORLD, "control");
  const double rate = measure_product_rate(*control, type, world().processor().device);
  return {"products", best[type] = std::max(best[type], rate)};
}

Limit copy_limit(double bytes) {
  static std::map<std::int64_t, double> best;
  // Half is read; beyond 1 GiB a rank nothing changes any more.
  constexpr double kMostElements = 1 << 27;
  const auto elements =
      static_cast<std::int64_t>(std::clamp(bytes / 2 / 4 / world().size(), 1.0, kMostElements));
  const auto options = at::TensorOptions(at::kFloat).device(world().processor().device);
  const at::Tensor from = at::ones({elements}, options);
  const at::Tensor to = at::ones({elements}, options);
  const double moved = 8.0 * static_cast<double>(elements) * world().size();
  const double rate = moved / fastest([&] { to.copy_(from); });
  return {"copy", best[elements] = std::max(best[elements], rate)};
}

std::function<void()> ring_exchange(std::int64_t bytes) {
  const int size = world().size();
  const int next = (world().rank() + 1) % size;
  const int before = (world().rank() + size - 1) % size;
  const std::int64_t count = bytes / 4;
  const auto options = at::TensorOptions(at::kFloat).device(world().processor().device);
  const at::Tensor out = at::ones({count}, options);
  const at::Tensor in = at::ones({count}, options);
  if (out.is_cuda())
    return [=] {
      const Transfer ring[] = {{Transfer::Kind::kReceive, buffer_of(in), before},
                               {Transfer::Kind::kSend, buffer_of(out), next}};
      world().communicator().start_exchange(ring)->wait();
    };
  return [=] {
    MPI_Sendrecv(out.data_ptr(), static_cast<int>(count), MPI_FLOAT, next, 0, in.data_ptr(),
                 static_cast<int>(count), MPI_FLOAT, before, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  };
}

Limit link_limit() {
  if (world().size() == 1) return {};
  static const double best = [] {
    double rate = 0;
    for (const std::int64_t kibibytes : {256, 1024, 4096, 16384})
      rate = std::max(
          rate, static_cast<double>(kibibytes << 10) / fastest(ring_exchange(kibibytes << 10)));
    return rate;
  }();
  return {"link", best};
}

std::int64_t file_bytes() {
  constexpr std::int64_t kAllRanks = std::int64_t{256} << 20;
  const auto block = static_cast<std::int64_t>(file_block().size());
  return std::max<std::int64_t>(1, kAllRanks / world().size() / block) * block;
}
void write_file() {
  const std::string name = file_name();
  const Descriptor file = open_file(name, O_CREAT | O_TRUNC | O_WRONLY, name);
  const auto block = static_cast<std::int64_t>(file_block().size());
  for (std::int64_t i = 0; i < num_blocks(); ++i) write_at(file, i * block, file_block(), name);
  sync_to_disk(file, name);
}
void forget_file() {
  forget_cached(file_name());
}
void read_file() {
  const std::string name = file_name();
  const Descriptor file = open_file(name, O_RDONLY, name);
  const auto block = static_cast<std::int64_t>(file_block().size());
  for (std::int64_t i = 0; i < num_blocks(); ++i) read_at(file, i * block, file_block(), name);
}
void remove_file() {
  ::unlink(file_name().c_str());
}

Limit write_limit() {
  static const double best = [] {
    double seconds = slowest(write_file);
    for (int i = 1; i < kRounds; ++i) seconds = std::min(seconds, slowest(write_file));
    remove_file();
    return static_cast<double>(file_bytes()) * world().size() / seconds;
  }();
  return {"plain write", best};
}

}  // namespace cuboid::harness
