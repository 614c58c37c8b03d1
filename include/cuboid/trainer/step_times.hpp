// What the steps of a run were made of, over all ranks: the table at a run's end.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "cuboid/base/step_recorder.hpp"
#include "cuboid/collective/communicator.hpp"
#include "cuboid/grid/shape.hpp"

namespace cuboid {

// Where the ranks run.
struct RankHosts {
  std::vector<std::string> names;  // of each rank's host
  bool share_cores = false;        // some ranks share a core: times are those of a crowded machine
  [[nodiscard]] std::string of(int rank) const {
    const auto at = static_cast<std::size_t>(rank);
    return at < names.size() ? names[at] : "this host";
  }
};

using PartTimes = std::array<double, kNumStepParts>;

// Adds up the steps of one rank. The first two of a run warm up (memory, threads, connections) and
// count only where there are no others.
class StepTimes {
 public:
  void add(const StepRecord& record);

  [[nodiscard]] std::int64_t num_steps() const;
  [[nodiscard]] std::int64_t first_step() const;
  // Milliseconds a step by part: the mean of the steps that count. Zeros where there were none.
  [[nodiscard]] PartTimes mean_ms() const;

 private:
  struct Sum {
    std::int64_t steps = 0;
    std::int64_t first_step = 0;
    PartTimes seconds{};
    void add(const StepRecord& record);
  };
  [[nodiscard]] const Sum& counted() const { return later_.steps > 0 ? later_ : first_two_; }

  Sum first_two_, later_;
};

// The same of all ranks.
struct StepTimeReport {
  GridShape shape;
  std::int64_t num_steps = 0;
  std::int64_t first_step = 0;
  std::int64_t num_microbatches = 1;
  std::vector<PartTimes> ms;                       // of each rank
  std::vector<double> peak_memory_bytes{};         // of each rank: peak_resident_bytes()
  std::vector<double> peak_device_memory_bytes{};  // peak_device_bytes()
  RankHosts hosts;

  // Mean over ranks of the time of a step: the sum of its parts.
  [[nodiscard]] double step_ms() const;
  // Share of the pipeline's time in which stages wait for each other, over all ranks: p2p_wait over
  // forward, backward, tp_wait and p2p_wait. What bubble_fraction() foretells.
  [[nodiscard]] double bubble() const;
  // The rank that computes longest (forward, backward, optimizer), and how much longer than the
  // mean.
  [[nodiscard]] int slowest_rank() const;
  [[nodiscard]] double slowest_over_mean() const;
};

// Collective over `control`, the grid's world; the same on all ranks.
StepTimeReport gather_step_times(const StepTimes& times, const GridShape& shape,
                                 std::int64_t num_microbatches, const RankHosts& hosts,
                                 Communicator& control);

// What is printed: parts with minimum, mean and maximum over ranks; the slowest rank; the bubble.
std::string step_time_table(const StepTimeReport& report);

struct StepSpeed {
  double tokens_per_second = 0.0;  // over all ranks, of the counted steps
  double mfu = 0.0;                // 0: no peak is known
  std::string mfu_convention;      // "llmc"
};
// OUTPUT_DIR/step_times.json, for programs: see src/trainer/README.md.
std::string step_time_json(const StepTimeReport& report, const StepSpeed& speed);

}  // namespace cuboid
