// Bandwidth of collectives, as nccl-tests defines it (its doc/PERFORMANCE.md), so that figures can
// be compared with its own.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace cuboid {

enum class Collective : unsigned char {
  kAllReduce,
  kAllGather,
  kReduceScatter,
  kBroadcast,
  kSendReceive,  // each rank sends to the next and receives from the one before: a ring
};

constexpr std::array<Collective, 5> all_collectives() {
  return {Collective::kAllReduce, Collective::kAllGather, Collective::kReduceScatter,
          Collective::kBroadcast, Collective::kSendReceive};
}

constexpr std::string_view name_of(Collective collective) {
  switch (collective) {
    case Collective::kAllReduce: return "all_reduce";
    case Collective::kAllGather: return "all_gather";
    case Collective::kReduceScatter: return "reduce_scatter";
    case Collective::kBroadcast: return "broadcast";
    case Collective::kSendReceive: return "sendrecv";
  }
  return "?";
}

// GB/s (10^9 bytes): the size of the operation over its time. The size is that of the larger
// buffer: all parts together for all_gather and reduce_scatter.
constexpr double algorithm_bandwidth(std::int64_t bytes, double seconds) {
  return 1e-9 * static_cast<double>(bytes) / seconds;
}

// Bus bandwidth over algorithm bandwidth: the share of the size that every rank's link must carry
// at least, so that the result does not depend on the number of ranks and compares with what the
// hardware can do. Each byte of an all_reduce must leave its rank and come back summed, without the
// rank's own part; an all_gather or a reduce_scatter is one half of that.
constexpr double bus_factor(Collective collective, int ranks) {
  const double others = static_cast<double>(ranks - 1) / ranks;
  switch (collective) {
    case Collective::kAllReduce: return 2 * others;
    case Collective::kAllGather:
    case Collective::kReduceScatter: return others;
    case Collective::kBroadcast:
    case Collective::kSendReceive: return 1;
  }
  return 0;
}

}  // namespace cuboid
