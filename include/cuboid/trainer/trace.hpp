// Steps of all ranks as one Chrome trace: what Perfetto (ui.perfetto.dev) opens.
// The format: "Trace Event Format", Google, the JSON object form.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuboid/base/step_recorder.hpp"
#include "cuboid/collective/communicator.hpp"
#include "cuboid/grid/shape.hpp"
#include "cuboid/trainer/clock_alignment.hpp"
#include "cuboid/trainer/step_times.hpp"

namespace cuboid {

// A process for each rank, in it a track for compute and one each for the calls of TP, PP and DP
// communication; every event's category is its StepPart, so that a category's time without the
// events inside adds up to the step-time table's. Beside them, as asynchronous events, what is
// under way between its start and its end.
class Trace {
 public:
  Trace(const GridShape& shape, RankHosts hosts) : shape_(shape), hosts_(std::move(hosts)) {}

  // Before the first of the steps, after the last; collective.
  void begin(Communicator& control) { clock_.begin(control); }
  // Writes the file, on rank 0, whole or not at all; the others send theirs, one after the other.
  // What went wrong, on rank 0, or "". The steps are forgotten.
  [[nodiscard]] std::string write(const std::string& path, Communicator& control);

  void add(StepRecord record) { steps_.push_back(std::move(record)); }
  [[nodiscard]] std::size_t num_steps() const { return steps_.size(); }
  [[nodiscard]] std::int64_t first_step() const { return steps_.front().step; }
  [[nodiscard]] std::int64_t last_step() const { return steps_.back().step; }

 private:
  [[nodiscard]] std::string events(int rank, std::int64_t origin_ns) const;

  GridShape shape_;
  RankHosts hosts_;
  ClockAlignment clock_;
  std::vector<StepRecord> steps_;
};

}  // namespace cuboid
