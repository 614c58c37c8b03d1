#include "cuboid/collective/wait_clock.hpp"

#include <algorithm>

namespace cuboid {

double WaitClock::see(std::size_t channel, std::optional<std::uint64_t> wait) {
  Seen& seen = channels_[channel];
  if (wait && wait == seen.wait) {
    seen.seconds += elapsed_;
  } else {
    seen = {wait, 0.0};
  }
  return seen.seconds;
}

double patience(std::optional<double> given, double longest_step) {
  constexpr double kAtTheStart = 1800.0;
  constexpr double kLater = 300.0;
  constexpr double kSteps = 10.0;
  if (given) return *given;
  return longest_step == 0.0 ? kAtTheStart : std::max(kLater, kSteps * longest_step);
}

}  // namespace cuboid
