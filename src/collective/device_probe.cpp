#include "cuboid/collective/device_probe.hpp"

#include "cuboid/base/signals_blocked.hpp"

namespace cuboid {

DeviceProbe::DeviceProbe(ProgressBoard& board, double interval, double patience)
    : board_(board), interval_(interval), patience_(patience) {
  const SignalsBlocked blocked;
  thread_ = std::thread([this] { run(); });
}

DeviceProbe::~DeviceProbe() {
  {
    const std::scoped_lock lock(mutex_);
    stops_ = true;
  }
  wakes_.notify_all();
  thread_.join();
}

bool DeviceProbe::is_silent() const {
  const Clock::rep asked_at = asked_at_;
  if (asked_at == 0) return false;
  return Clock::now() - Clock::time_point(Clock::duration(asked_at)) > patience_;
}

void DeviceProbe::run() {
  do {
    asked_at_ = Clock::now().time_since_epoch().count();
    for (Channel* channel : board_.channels()) channel->ask_device();
    asked_at_ = 0;
  } while (sleep());
}

bool DeviceProbe::sleep() {
  std::unique_lock lock(mutex_);
  return !wakes_.wait_for(lock, interval_, [this] { return stops_; });
}

}  // namespace cuboid
