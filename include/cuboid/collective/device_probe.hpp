// Asks the devices how far they have come, on a thread of its own: a call of the driver may wait
// for what another thread of the process waits in, and the watchdog must not.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "cuboid/collective/progress_board.hpp"

namespace cuboid {

class DeviceProbe {
 public:
  // Asks for all channels of the board every `interval` seconds. An answer that takes longer than
  // `patience` is silence.
  DeviceProbe(ProgressBoard& board, double interval, double patience = 1.0);
  DeviceProbe(const DeviceProbe&) = delete;
  DeviceProbe& operator=(const DeviceProbe&) = delete;
  // Waits for the answer.
  ~DeviceProbe();

  [[nodiscard]] bool is_silent() const;

 private:
  using Clock = std::chrono::steady_clock;
  void run();
  // False when it is to stop.
  bool sleep();

  ProgressBoard& board_;
  std::chrono::duration<double> interval_;
  std::chrono::duration<double> patience_;
  std::atomic<Clock::rep> asked_at_ = 0;  // of the clock; 0: nothing is asked
  std::mutex mutex_;
  std::condition_variable wakes_;
  bool stops_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace cuboid
