// What tells the times of spans: the host's steady clock, or a device's time line.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace cuboid {

class StepClock {
 public:
  StepClock() = default;
  StepClock(const StepClock&) = delete;
  StepClock& operator=(const StepClock&) = delete;
  virtual ~StepClock() = default;

  // A moment: its time, or what resolve() knows it by.
  virtual std::int64_t mark() = 0;
  // Turns the marks of one step, in their order, into nanoseconds of the host's steady clock. May
  // wait until the device has passed the last of them. Steps come in order, each once.
  virtual void resolve(std::vector<std::int64_t>& marks) = 0;
  // Ties the device's time line to the host's clock anew, waiting for the device; only while no
  // mark is left to resolve.
  virtual void align() = 0;
  // Whether a step's marks are known some time after its end only.
  [[nodiscard]] virtual bool lags() const = 0;
};

// Nanoseconds of the steady clock, whose start is any moment of this machine.
std::int64_t steady_ns();
std::unique_ptr<StepClock> make_host_clock();

}  // namespace cuboid
