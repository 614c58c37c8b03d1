// One collective, timed and checked the way nccl-tests does it.
#pragma once

#include <cstdint>

#include "cuboid/collective/bandwidth.hpp"
#include "cuboid/collective/communicator.hpp"

namespace cuboid {

struct CollectiveCase {
  Collective collective = Collective::kAllReduce;
  DType dtype = DType::kFloat32;
  ReduceOp op = ReduceOp::kSum;  // where something is reduced
  int root = 0;                  // of a broadcast
  bool in_place = true;          // see runs_in_place
  std::int64_t count = 0;        // elements a rank hands in, or of its part: see count_for
};

constexpr bool reduces(Collective collective) {
  return collective == Collective::kAllReduce || collective == Collective::kReduceScatter;
}
// Whose size is that of all ranks' parts together.
constexpr bool has_parts(Collective collective) {
  return collective == Collective::kAllGather || collective == Collective::kReduceScatter;
}
// The interface has all_reduce and broadcast in place only, sendrecv between two buffers only.
constexpr bool runs_in_place(Collective collective) {
  return collective != Collective::kSendReceive;
}
constexpr bool runs_out_of_place(Collective collective) {
  return has_parts(collective) || collective == Collective::kSendReceive;
}

// The `count` of a case of at most `bytes`: nccl-tests' column. 0 where a rank's part would be
// empty.
std::int64_t count_for(Collective collective, DType dtype, std::int64_t bytes, int ranks);
// The size that bandwidths are of: nccl-tests' first column.
std::int64_t size_of(const CollectiveCase& one, int ranks);

// Memory that a rank needs for a case, in its two buffers.
struct BenchmarkMemory {
  std::int64_t first = 0;
  std::int64_t second = 0;
};
BenchmarkMemory memory_for(const CollectiveCase& one, int ranks);

// Runs cases over one communicator, in buffers that the caller owns (as large as memory_for says;
// of uint8, in host or device memory).
class CollectiveBenchmark {
 public:
  // `everyone`: over MPI, all ranks that measure at the same time, those of other groups included.
  CollectiveBenchmark(Communicator& group, Communicator& everyone, Buffer first, Buffer second)
      : group_(group), everyone_(everyone), first_(first), second_(second) {}

  // Seconds of one operation on this rank: the mean of `iterations` in a row after a common start,
  // until the last is complete. Collective over everyone.
  double time(const CollectiveCase& one, int warmups, int iterations);

  // Runs the case once on numbers that are different in each round; elements on this rank that are
  // not what they should be. Collective over the group.
  std::int64_t check(const CollectiveCase& one, int round);

 private:
  struct Views {
    Buffer send, receive;
  };
  [[nodiscard]] Views views_of(const CollectiveCase& one) const;
  void prepare(const CollectiveCase& one, int round);
  void run(const CollectiveCase& one, const Views& views);
  void finish() const;

  Communicator& group_;
  Communicator& everyone_;
  Buffer first_, second_;
};

// What stands for a group's ranks, as nccl-tests' --average: 0 to 3.
enum class Average : unsigned char { kFirst, kMean, kMinimum, kMaximum };
// `group` over MPI. The same on all its ranks.
double over_ranks(double seconds, Average average, Communicator& group);

}  // namespace cuboid
