// The clocks of all ranks against that of the first, by messages.
#pragma once

#include <cstdint>
#include <functional>

#include "cuboid/base/step_clock.hpp"
#include "cuboid/collective/communicator.hpp"

namespace cuboid {

using NowNs = std::function<std::int64_t()>;

struct ClockOffset {
  std::int64_t at_ns = 0;  // on this rank's clock
  std::int64_t ns = 0;     // to add to this rank's clock then to get rank 0's
};

// By the shortest of many round trips; half of it is the error at most. Collective. Cristian,
// "Probabilistic clock synchronization", Distributed Computing 3, 1989.
ClockOffset measure_clock_offset(Communicator& comm, const NowNs& now = steady_ns);

// The offset over a stretch of time: measured at its begin and its end, for clocks drift apart.
class ClockAlignment {
 public:
  explicit ClockAlignment(NowNs now = steady_ns) : now_(std::move(now)) {}
  // Both collective.
  void begin(Communicator& comm);
  void end(Communicator& comm);
  // This rank's time on rank 0's clock.
  [[nodiscard]] std::int64_t on_first_rank(std::int64_t ns) const;

 private:
  NowNs now_;
  ClockOffset begin_, end_;
};

}  // namespace cuboid
