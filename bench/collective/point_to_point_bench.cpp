// Messages between pairs of ranks (0 and 1, 2 and 3, ...; an odd last one rests), all pairs at
// once. ping_pong: one message there and one back; the time is half the round trip. both_ways: each
// sends and receives at once, as neighbouring pipeline stages do. algbw: bytes that one rank sends,
// over time. plain/: MPI_Send and MPI_Recv. Limit: a ring of plain messages (limits.hpp).
#include <mpi.h>

#include "../harness/measure.hpp"
#include "sizes.hpp"

namespace cuboid::harness {
namespace {

struct Pair {
  Communicator& comm;
  Buffer out, in;
  int peer;
  [[nodiscard]] bool is_first() const { return comm.rank() < peer; }
};

void ping_pong(const Pair& pair) {
  if (pair.is_first()) {
    pair.comm.send(pair.out, pair.peer);
    pair.comm.receive(pair.in, pair.peer);
  } else {
    pair.comm.receive(pair.in, pair.peer);
    pair.comm.send(pair.out, pair.peer);
  }
}
void both_ways(const Pair& pair) {
  const Transfer transfers[] = {{Transfer::Kind::kReceive, pair.in, pair.peer},
                                {Transfer::Kind::kSend, pair.out, pair.peer}};
  pair.comm.start_exchange(transfers)->wait();
}
void plain_ping_pong(const Pair& pair) {
  const int count = static_cast<int>(pair.out.bytes());
  const auto send = [&] { MPI_Send(pair.out.data, count, MPI_BYTE, pair.peer, 0, MPI_COMM_WORLD); };
  const auto receive = [&] {
    MPI_Recv(pair.in.data, count, MPI_BYTE, pair.peer, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  };
  if (pair.is_first()) send();
  receive();
  if (!pair.is_first()) send();
}

void talk(benchmark::State& state, void (*run)(const Pair&), int messages, std::int64_t bytes) {
  Communicator& comm = world().communicator();
  if (comm.size() == 1) return state.SkipWithError("left out: one rank has nobody to talk to");
  const Place place = message_place();
  if (!fits(state, 2.0 * static_cast<double>(bytes), place)) return;
  const MessageMemory out = allocate_message(bytes, place);
  const MessageMemory in = allocate_message(bytes, place);
  const std::int64_t count = bytes / 4;
  const Pair pair = {comm,
                     {out.get().data, count, DType::kFloat32, place},
                     {in.get().data, count, DType::kFloat32, place},
                     comm.rank() ^ 1};
  const Times times = measure(state, {.action =
                                          [&] {
                                            if (pair.peer < comm.size()) run(pair);
                                          },
                                      .counts_for = messages});
  const double rate = static_cast<double>(bytes) / times.median;
  state.counters["bytes"] = static_cast<double>(bytes);
  state.counters["algbw"] = rate;
  state.counters["busbw"] = rate;
  set_share(state, rate, link_limit());
}

void register_all() {
  const auto add_all = [](const std::string& name, void (*run)(const Pair&), int messages) {
    for (const std::int64_t bytes : message_sizes())
      add(name + "/" + size_name(bytes),
          [=](benchmark::State& state) { talk(state, run, messages, bytes); });
  };
  add_all(world().backend() + "/ping_pong", ping_pong, 2);
  add_all(world().backend() + "/both_ways", both_ways, 1);
  if (message_place() == Place::kHost) add_all("plain/ping_pong", plain_ping_pong, 2);
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
