#include "cuboid/trainer/time_limit.hpp"

#include <algorithm>

namespace cuboid {

void TimeLimit::took_step(double seconds) {
  steps_[next_++ % steps_.size()] = seconds;
}

void TimeLimit::took_save(double seconds) {
  save_seconds_ = has_saved_ ? std::max(save_seconds_, seconds) : seconds;
  has_saved_ = true;
}

double TimeLimit::reserve_seconds() const {
  constexpr double kMargin = 1.5;
  constexpr double kEndSeconds = 5.0;
  return kMargin * (*std::ranges::max_element(steps_) + save_seconds_) + kEndSeconds;
}

bool TimeLimit::is_near(double elapsed) const {
  return seconds_left_ - elapsed <= reserve_seconds();
}

}  // namespace cuboid
