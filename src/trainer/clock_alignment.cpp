#include "cuboid/trainer/clock_alignment.hpp"

#include <limits>

namespace cuboid {
namespace {

constexpr int kRoundTrips = 32;

void answer(Communicator& comm, int peer, const NowNs& now) {
  for (int i = 0; i < kRoundTrips; ++i) {
    std::int64_t message = 0;
    comm.receive(buffer_of(message), peer);
    message = now();
    comm.send(buffer_of(message), peer);
  }
}

ClockOffset ask(Communicator& comm, const NowNs& now) {
  std::int64_t shortest = std::numeric_limits<std::int64_t>::max();
  ClockOffset offset;
  for (int i = 0; i < kRoundTrips; ++i) {
    std::int64_t message = 0;
    const std::int64_t sent = now();
    comm.send(buffer_of(message), 0);
    comm.receive(buffer_of(message), 0);
    const std::int64_t received = now();
    if (received - sent >= shortest) continue;
    shortest = received - sent;
    offset.at_ns = sent + shortest / 2;
    offset.ns = message - offset.at_ns;
  }
  return offset;
}

}  // namespace

ClockOffset measure_clock_offset(Communicator& comm, const NowNs& now) {
  if (comm.rank() != 0) return ask(comm, now);
  for (int peer = 1; peer < comm.size(); ++peer) answer(comm, peer, now);
  return {.at_ns = now(), .ns = 0};
}

void ClockAlignment::begin(Communicator& comm) {
  begin_ = measure_clock_offset(comm, now_);
  end_ = begin_;
}

void ClockAlignment::end(Communicator& comm) {
  end_ = measure_clock_offset(comm, now_);
}

std::int64_t ClockAlignment::on_first_rank(std::int64_t ns) const {
  const std::int64_t length = end_.at_ns - begin_.at_ns;
  if (length <= 0) return ns + begin_.ns;
  const double passed = static_cast<double>(ns - begin_.at_ns) / static_cast<double>(length);
  const auto drift = static_cast<double>(end_.ns - begin_.ns);
  return ns + begin_.ns + static_cast<std::int64_t>(passed * drift);
}

}  // namespace cuboid
