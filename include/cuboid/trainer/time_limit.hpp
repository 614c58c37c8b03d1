// When a run must save so that it is done before its time is up.
#pragma once

#include <array>
#include <cstddef>
#include <limits>

#include "cuboid/base/timer.hpp"

namespace cuboid {

class TimeLimit {
 public:
  static constexpr double kNone = std::numeric_limits<double>::infinity();

  // `seconds_left` from now on; a save is taken to need `save_seconds` until one was measured.
  explicit TimeLimit(double seconds_left, double save_seconds = 0.0)
      : seconds_left_(seconds_left), save_seconds_(save_seconds) {}

  // What steps (or whatever else passes between two looks at the clock) and saves have taken.
  void took_step(double seconds);
  void took_save(double seconds);

  // True where one more step may leave too little time for a save.
  [[nodiscard]] bool is_near() const { return is_near(clock_.seconds()); }
  // The same, `elapsed` seconds after this was made.
  [[nodiscard]] bool is_near(double elapsed) const;
  // What must be left: half as much again as the longest of the last steps and the longest save
  // took, and five seconds for the end of the program.
  [[nodiscard]] double reserve_seconds() const;

 private:
  Timer clock_;
  double seconds_left_;
  double save_seconds_;
  bool has_saved_ = false;
  // The last ones only: a first step takes longer than any other.
  std::array<double, 16> steps_{};
  std::size_t next_ = 0;
};

}  // namespace cuboid
