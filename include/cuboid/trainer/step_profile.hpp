// What a run learns about its steps: times by part of all of them, a trace of those of --profile.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cuboid/collective/grid_communicators.hpp"
#include "cuboid/config/config.hpp"
#include "cuboid/grid/shape.hpp"
#include "cuboid/trainer/step_times.hpp"
#include "cuboid/trainer/trace.hpp"

namespace cuboid {

class StepProfile {
 public:
  // The communicators must outlive this.
  StepProfile(const Config& config, const GridShape& shape, const RankHosts& hosts,
              GridCommunicators& communicators);

  // Which steps are traced in a run that goes on after `completed` steps; what there is to say
  // about it, or "".
  std::string plan(std::int64_t completed);

  // Around a step. begin_step() is collective at the first traced step.
  void begin_step(std::int64_t step);
  void end_step();
  // Writes the trace once its last step is over, collective then; what there is to say, or "".
  std::string write_when_complete();
  // At the end of the run; collective. Writes what is traced by then, and
  // OUTPUT_DIR/step_times.json; returns the table. `speed_of`: by the seconds of a step.
  std::string finish(const std::function<StepSpeed(double)>& speed_of);

 private:
  [[nodiscard]] bool is_traced(std::int64_t step) const {
    return step >= first_traced_ && step <= last_traced_;
  }
  void take(bool all);
  std::string write_trace();

  Config config_;
  GridShape shape_;
  RankHosts hosts_;
  GridCommunicators& communicators_;
  StepTimes times_;
  Trace trace_;
  std::unique_ptr<SpanObserver> observer_;
  std::int64_t step_ = 0;
  std::int64_t first_traced_ = 0, last_traced_ = -1;
};

}  // namespace cuboid
