// Bandwidth of the verbs, as nccl-tests defines it: algbw is bytes over time (all_gather and
// reduce_scatter: bytes of all parts together), busbw is what the wire carries of it at best. copy
// is the rate at which all ranks copy buffers of the same size at once, beside it in the same run:
// what memory allows. MPI on host memory, and NCCL on device memory where each rank has a GPU.
#include <benchmark/benchmark.h>
#include <mpi.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "cuboid/base/timer.hpp"
#include "cuboid/collective/backend.hpp"
#include "cuboid/collective/cuda.hpp"

namespace cuboid {
namespace {

constexpr int kWarmUps = 2;
constexpr int kCopies = 5;

struct MemoryTraits {
  struct Type {
    void* data;
    Place place;
    bool operator==(const Type&) const = default;
  };
  static Type null() { return {nullptr, Place::kHost}; }
  static void release(Type memory) noexcept {
    memory.place == Place::kHost ? ::operator delete(memory.data)
                                 : static_cast<void>(cudaFree(memory.data));
  }
};
using Memory = Handle<MemoryTraits>;

Memory allocate(std::size_t bytes, Place place) {
  if (place == Place::kHost) {
    void* data = ::operator new(bytes);
    std::fill_n(static_cast<std::byte*>(data), bytes, std::byte{0});
    return Memory({data, place});
  }
  void* data = nullptr;
  check_cuda(cudaMalloc(&data, bytes));
  check_cuda(cudaMemset(data, 0, bytes));
  return Memory({data, place});
}

// Seconds of `action` on the slowest rank, all starting together; device work included.
double slowest(Place place, const std::function<void()>& action) {
  MPI_Barrier(MPI_COMM_WORLD);
  const Timer timer;
  action();
  if (place == Place::kDevice) check_cuda(cudaDeviceSynchronize());
  double seconds = timer.seconds();
  MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return seconds;
}

struct Subject {
  Communicator& comm;
  Buffer whole;  // of `bytes`
  Buffer other;  // the same size
  [[nodiscard]] Buffer part(Buffer buffer) const {
    return slice(buffer, comm.rank() * (buffer.count / comm.size()), buffer.count / comm.size());
  }
};

struct Verb {
  const char* name;
  DType dtype;
  // busbw / algbw for n ranks.
  double (*bus_factor)(double n);
  void (*run)(const Subject& subject);
};

double twice_ring(double n) {
  return 2 * (n - 1) / n;
}
double once_ring(double n) {
  return (n - 1) / n;
}
double one(double /*n*/) {
  return 1;
}

void all_reduce(const Subject& s) {
  s.comm.all_reduce(s.whole);
}
void start_all_reduce(const Subject& s) {
  s.comm.start_all_reduce(s.whole, ReduceOp::kSum)->wait();
}
void all_gather(const Subject& s) {
  s.comm.all_gather(s.part(s.whole), s.whole);
}
void reduce_scatter(const Subject& s) {
  s.comm.reduce_scatter(s.whole, s.part(s.other));
}
void start_reduce_scatter(const Subject& s) {
  s.comm.start_reduce_scatter(s.whole, s.part(s.other), ReduceOp::kSum, {})->wait();
}
void broadcast(const Subject& s) {
  s.comm.broadcast(s.whole, 0);
}
void exchange(const Subject& s) {
  const int n = s.comm.size();
  const Transfer ring[] = {{Transfer::Kind::kReceive, s.other, (s.comm.rank() + n - 1) % n},
                           {Transfer::Kind::kSend, s.whole, (s.comm.rank() + 1) % n}};
  s.comm.start_exchange(ring)->wait();
}

int num_devices() {
  int devices = 0;
  return cudaGetDeviceCount(&devices) == cudaSuccess ? devices : 0;
}

// One GPU for each rank of this node.
bool take_a_device(benchmark::State& state) {
  int ranks = 0;
  int rank = 0;
  MPI_Comm node = MPI_COMM_NULL;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  MPI_Comm_size(node, &ranks);
  MPI_Comm_rank(node, &rank);
  MPI_Comm_free(&node);
  int enough = ranks <= num_devices() ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &enough, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  if (enough == 0) {
    state.SkipWithError("more ranks than GPUs on a node");
    return false;
  }
  check_cuda(cudaSetDevice(rank));
  return true;
}

void measure(benchmark::State& state, const Verb& verb, Backend backend) {
  const Place place = backend == Backend::kNccl ? Place::kDevice : Place::kHost;
  if (backend == Backend::kNccl && !take_a_device(state)) return;
  const auto comm = make_communicator(backend, MPI_COMM_WORLD, "bench");
  const auto width = static_cast<std::int64_t>(size_of(verb.dtype));
  const std::int64_t count = state.range(0) / width / comm->size() * comm->size();
  const auto bytes = static_cast<std::size_t>(count * width);
  const Memory first = allocate(bytes, place);
  const Memory second = allocate(bytes, place);
  const Subject subject = {*comm,
                           {first.get().data, count, verb.dtype, place},
                           {second.get().data, count, verb.dtype, place}};
  double copy_seconds = 1e9;
  for (int i = 0; i < kCopies; ++i) {
    copy_seconds =
        std::min(copy_seconds,
                 slowest(place, [&] { copy_elements(subject.whole, subject.other, nullptr); }));
  }
  for (int i = 0; i < kWarmUps; ++i) slowest(place, [&] { verb.run(subject); });
  double total = 0;
  double best = 1e9;
  for (auto _ : state) {
    const double seconds = slowest(place, [&] { verb.run(subject); });
    state.SetIterationTime(seconds);
    total += seconds;
    best = std::min(best, seconds);
  }
  const double algorithm =
      1e-9 * static_cast<double>(bytes) * static_cast<double>(state.iterations()) / total;
  const double factor = verb.bus_factor(comm->size());
  state.counters["algbw_GB/s"] = algorithm;
  state.counters["busbw_GB/s"] = algorithm * factor;
  state.counters["best_busbw"] = 1e-9 * static_cast<double>(bytes) / best * factor;
  state.counters["copy_GB/s"] = 1e-9 * static_cast<double>(bytes) / copy_seconds;
}

// MPI's own, for comparison.
void plain_all_reduce(const Subject& s) {
  MPI_Allreduce(MPI_IN_PLACE, s.whole.data, static_cast<int>(s.whole.count), MPI_FLOAT, MPI_SUM,
                MPI_COMM_WORLD);
}
void plain_reduce_scatter(const Subject& s) {
  const Buffer part = s.part(s.other);
  MPI_Reduce_scatter_block(s.whole.data, part.data, static_cast<int>(part.count), MPI_FLOAT,
                           MPI_SUM, MPI_COMM_WORLD);
}

constexpr Verb kPlainVerbs[] = {
    {"MPI_Allreduce", DType::kFloat32, twice_ring, plain_all_reduce},
    {"MPI_Reduce_scatter_block", DType::kFloat32, once_ring, plain_reduce_scatter},
};
constexpr Verb kVerbs[] = {
    {"all_reduce", DType::kFloat32, twice_ring, all_reduce},
    {"start_all_reduce", DType::kFloat32, twice_ring, start_all_reduce},
    {"all_reduce", DType::kBFloat16, twice_ring, all_reduce},
    {"all_gather", DType::kFloat32, once_ring, all_gather},
    {"reduce_scatter", DType::kFloat32, once_ring, reduce_scatter},
    {"start_reduce_scatter", DType::kFloat32, once_ring, start_reduce_scatter},
    {"reduce_scatter", DType::kBFloat16, once_ring, reduce_scatter},
    {"broadcast", DType::kFloat32, one, broadcast},
    {"exchange", DType::kFloat32, one, exchange},
};

void register_all(std::span<const Verb> verbs, Backend backend, const char* name) {
  for (const Verb& verb : verbs) {
    const std::string title =
        std::string(name) + "/" + verb.name + "/" + name_of(verb.dtype).data();
    for (const std::int64_t kibibytes : {4, 256, 4096, 65536}) {
      // Fixed: every rank must run as many.
      const std::int64_t iterations = kibibytes <= 256 ? 200 : (kibibytes <= 4096 ? 40 : 8);
      benchmark::RegisterBenchmark(
          title.c_str(), [&verb, backend](benchmark::State& s) { measure(s, verb, backend); })
          ->ArgName("bytes")
          ->Arg(kibibytes * 1024)
          ->Iterations(iterations)
          ->UseManualTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }
}

// Before main, like every BENCHMARK(); what it could throw is lack of memory.
// NOLINTNEXTLINE(bugprone-throwing-static-initialization)
const bool kRegistered = [] {
  register_all(kVerbs, Backend::kMpi, "mpi");
  register_all(kPlainVerbs, Backend::kMpi, "plain");
  if (num_devices() > 0) register_all(kVerbs, Backend::kNccl, "nccl");
  return true;
}();

}  // namespace
}  // namespace cuboid
