// Each verb over message sizes. algbw and busbw as nccl-tests defines them
// (cuboid/collective/bandwidth.hpp): bytes over time, and what every rank's link carries of it.
// bytes: the larger buffer (all_gather and reduce_scatter: all parts together). Limit of busbw: a
// ring of plain messages (limits.hpp). plain/: MPI's own functions on the same memory.
// all_reduce_shared: in memory that the ranks of a node share, as training's gradients lie; of_MPI:
// how many times as fast as MPI_Allreduce on each rank's own memory, measured in turns with it.
#include <mpi.h>

#include <algorithm>

#include "../harness/measure.hpp"
#include "cuboid/collective/backend.hpp"
#include "cuboid/collective/bandwidth.hpp"
#include "sizes.hpp"

namespace cuboid::harness {
namespace {

struct Subject {
  Communicator& comm;
  Buffer whole, other;
  [[nodiscard]] Buffer part(Buffer buffer) const {
    return slice(buffer, comm.rank() * (buffer.count / comm.size()), buffer.count / comm.size());
  }
};

struct Verb {
  const char* name;
  DType dtype;
  Collective collective;
  void (*run)(const Subject& subject);
};

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

void plain_all_reduce(const Subject& s) {
  MPI_Allreduce(MPI_IN_PLACE, s.whole.data, static_cast<int>(s.whole.count), MPI_FLOAT, MPI_SUM,
                MPI_COMM_WORLD);
}
void plain_all_gather(const Subject& s) {
  MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, s.whole.data,
                static_cast<int>(s.part(s.whole).count), MPI_FLOAT, MPI_COMM_WORLD);
}
void plain_reduce_scatter(const Subject& s) {
  const Buffer part = s.part(s.other);
  MPI_Reduce_scatter_block(s.whole.data, part.data, static_cast<int>(part.count), MPI_FLOAT,
                           MPI_SUM, MPI_COMM_WORLD);
}
void plain_broadcast(const Subject& s) {
  MPI_Bcast(s.whole.data, static_cast<int>(s.whole.count), MPI_FLOAT, 0, MPI_COMM_WORLD);
}
void plain_exchange(const Subject& s) {
  const int n = s.comm.size();
  MPI_Sendrecv(s.whole.data, static_cast<int>(s.whole.count), MPI_FLOAT, (s.comm.rank() + 1) % n, 0,
               s.other.data, static_cast<int>(s.other.count), MPI_FLOAT,
               (s.comm.rank() + n - 1) % n, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

constexpr Verb kVerbs[] = {
    {"all_reduce", DType::kFloat32, Collective::kAllReduce, all_reduce},
    {"start_all_reduce", DType::kFloat32, Collective::kAllReduce, start_all_reduce},
    {"all_reduce", DType::kBFloat16, Collective::kAllReduce, all_reduce},
    {"all_gather", DType::kFloat32, Collective::kAllGather, all_gather},
    {"reduce_scatter", DType::kFloat32, Collective::kReduceScatter, reduce_scatter},
    {"start_reduce_scatter", DType::kFloat32, Collective::kReduceScatter, start_reduce_scatter},
    {"reduce_scatter", DType::kBFloat16, Collective::kReduceScatter, reduce_scatter},
    {"broadcast", DType::kFloat32, Collective::kBroadcast, broadcast},
    {"exchange", DType::kFloat32, Collective::kSendReceive, exchange},
};
constexpr Verb kPlainVerbs[] = {
    {"MPI_Allreduce", DType::kFloat32, Collective::kAllReduce, plain_all_reduce},
    {"MPI_Allgather", DType::kFloat32, Collective::kAllGather, plain_all_gather},
    {"MPI_Reduce_scatter_block", DType::kFloat32, Collective::kReduceScatter, plain_reduce_scatter},
    {"MPI_Bcast", DType::kFloat32, Collective::kBroadcast, plain_broadcast},
    {"MPI_Sendrecv", DType::kFloat32, Collective::kSendReceive, plain_exchange},
};

void set_bandwidth(benchmark::State& state, Collective collective, std::int64_t bytes,
                   const Times& times) {
  const double algbw = 1e9 * algorithm_bandwidth(bytes, times.median);
  const double busbw = algbw * bus_factor(collective, world().communicator().size());
  state.counters["bytes"] = static_cast<double>(bytes);
  state.counters["algbw"] = algbw;
  state.counters["busbw"] = busbw;
  set_share(state, busbw, link_limit());
}

void communicate(benchmark::State& state, const Verb& verb, std::int64_t wanted_bytes) {
  Communicator& comm = world().communicator();
  if (comm.size() == 1) return state.SkipWithError("left out: one rank has nobody to talk to");
  const Place place = message_place();
  // Two buffers, and what reduce_scatter's asynchronous form keeps of the other ranks.
  if (!fits(state, 3.0 * static_cast<double>(wanted_bytes), place)) return;
  const auto width = static_cast<std::int64_t>(size_of(verb.dtype));
  std::int64_t count = wanted_bytes / width;
  // At least one element a rank, and as many for each.
  if (verb.collective == Collective::kAllGather || verb.collective == Collective::kReduceScatter)
    count = std::max<std::int64_t>(1, count / comm.size()) * comm.size();
  const MessageMemory first = allocate_message(count * width, place);
  const MessageMemory second = allocate_message(count * width, place);
  const Subject subject = {comm,
                           {first.get().data, count, verb.dtype, place},
                           {second.get().data, count, verb.dtype, place}};
  const Times times = measure(state, {.action = [&] { verb.run(subject); }});
  set_bandwidth(state, verb.collective, count * width, times);
}

// Seconds of `other` over those of `action`: the median of turns, each long enough for the clock.
double times_as_fast(const std::function<void()>& action, const std::function<void()>& other,
                     double seconds) {
  constexpr int kTurns = 7;
  constexpr double kTurnSeconds = 0.02;
  const int repeats = static_cast<int>(std::clamp(kTurnSeconds / seconds, 1.0, 1000.0));
  const auto repeat = [repeats](const std::function<void()>& what) {
    return slowest([&] {
      for (int i = 0; i < repeats; ++i) what();
    });
  };
  std::vector<double> ratios;
  for (int turn = 0; turn < kTurns; ++turn) {
    const double mine = repeat(action);
    ratios.push_back(repeat(other) / mine);
  }
  std::nth_element(ratios.begin(), ratios.begin() + kTurns / 2, ratios.end());
  return ratios[kTurns / 2];
}

void reduce_shared(benchmark::State& state, std::int64_t bytes) {
  if (world().communicator().size() == 1)
    return state.SkipWithError("left out: one rank has nobody to talk to");
  if (!fits(state, 2.0 * static_cast<double>(bytes), Place::kHost)) return;
  // Its memory lives as long as the communicator.
  const auto comm = make_communicator(Backend::kMpi, MPI_COMM_WORLD, "shared");
  const std::int64_t count = bytes / static_cast<std::int64_t>(sizeof(float));
  const Buffer shared = {comm->allocate(static_cast<std::size_t>(bytes)), count, DType::kFloat32,
                         Place::kHost};
  if (!comm->shares(shared)) return state.SkipWithError("left out: ranks share no memory");
  const MessageMemory own = allocate_message(bytes, Place::kHost);
  const std::function<void()> action = [&] { comm->all_reduce(shared); };
  const Times times = measure(state, {.action = action});
  set_bandwidth(state, Collective::kAllReduce, bytes, times);
  const Subject plain = {*comm, {own.get().data, count, DType::kFloat32, Place::kHost}, {}};
  state.counters["of_MPI"] = times_as_fast(action, [&] { plain_all_reduce(plain); }, times.median);
}

void register_verb(const std::string& backend, const Verb& verb) {
  for (const std::int64_t bytes : message_sizes())
    add(backend + "/" + verb.name + "/" + std::string(name_of(verb.dtype)) + "/" + size_name(bytes),
        [&verb, bytes](benchmark::State& state) { communicate(state, verb, bytes); });
}

void register_all() {
  for (const Verb& verb : kVerbs) register_verb(world().backend(), verb);
  if (message_place() != Place::kHost) return;
  for (const Verb& verb : kPlainVerbs) register_verb("plain", verb);
  for (const std::int64_t bytes : message_sizes())
    add("mpi/all_reduce_shared/fp32/" + size_name(bytes),
        [bytes](benchmark::State& state) { reduce_shared(state, bytes); });
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
