#include "cuboid/base/step_clock.hpp"

#include <chrono>

namespace cuboid {
namespace {

class HostClock final : public StepClock {
 public:
  std::int64_t mark() override { return steady_ns(); }
  void resolve(std::vector<std::int64_t>& /*marks*/) override {}
  void align() override {}
  [[nodiscard]] bool lags() const override { return false; }
};

}  // namespace

std::int64_t steady_ns() {
  const auto since_start = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(since_start).count();
}

std::unique_ptr<StepClock> make_host_clock() {
  return std::make_unique<HostClock>();
}

}  // namespace cuboid
