// How long waits have lasted, in time during which this process was awake: pure. A machine that was
// suspended, or a job that was stopped and continued as a whole, has waited no longer for it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace cuboid {

class WaitClock {
 public:
  // Looks are to come every `interval` seconds; time beyond four of them between two looks was not
  // this process's.
  explicit WaitClock(double interval) : longest_(4.0 * interval) {}

  // A look at all channels begins, `seconds` after the last one.
  void begin_look(double seconds) { elapsed_ = seconds < longest_ ? seconds : longest_; }
  // The channel's present wait, by its number; none where there is none. Returns how long it has
  // been seen, in awake time.
  double see(std::size_t channel, std::optional<std::uint64_t> wait);

 private:
  struct Seen {
    std::optional<std::uint64_t> wait;
    double seconds = 0.0;
  };
  double longest_;
  double elapsed_ = 0.0;
  std::map<std::size_t, Seen> channels_;
};

// How many seconds a wait may last. Where that was not `given` it depends on the run: many until
// the first step is done (weights are made, libraries load), then five minutes, or ten times the
// longest step (or batch of a validation), whichever is more. `longest_step`: 0 before the first.
double patience(std::optional<double> given, double longest_step);

}  // namespace cuboid
