// Watches this rank's communication, and ends the job where a rank waits too long: with a report
// that names who did not come to what, and one exit code on all ranks.
#pragma once

#include <mpi.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cuboid/base/timer.hpp"
#include "cuboid/collective/device_probe.hpp"
#include "cuboid/collective/progress_board.hpp"
#include "cuboid/collective/rank_state.hpp"
#include "cuboid/collective/wait_clock.hpp"

namespace cuboid {

class SideChannel;

struct WatchdogOptions {
  std::optional<double> timeout;  // seconds; none: see patience()
  int exit_code = 6;
  std::string prefix;                       // of the report: "cuboid: error: "
  std::function<std::string(int)> name_of;  // of a rank, for people
  std::vector<int> node_of;                 // of each rank: see NodeMap
  // Ends all ranks, also those that do not answer. Does not return.
  std::function<void(int exit_code)> abort_job;
};

// A thread of each rank looks at the board now and then. Where an operation has kept this rank
// waiting too long, one rank of those that answer, the lowest it can reach, asks all ranks what
// they wait in, reports on standard error, and has all ranks end at once: NCCL's communicators are
// aborted, then the process ends. See src/collective/README.md.
class Watchdog {
 public:
  // Collective over `world`.
  Watchdog(MPI_Comm world, WatchdogOptions options);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  // Does not return while the job is being ended.
  ~Watchdog();

  [[nodiscard]] ProgressBoard& board() { return board_; }
  // A step, or a batch of a validation, has taken so many seconds.
  void took(double seconds) noexcept;

 private:
  void run();
  void look();
  void look_at(std::size_t index, Channel& channel);
  [[nodiscard]] double limit() const;
  void raise_alarm();
  void report_and_end();
  [[nodiscard]] std::vector<RankState> states_of_all();
  [[nodiscard]] std::string report(const std::vector<RankState>& states) const;
  [[noreturn]] void end(bool all_answer);

  WatchdogOptions options_;
  int rank_ = 0;
  int size_ = 1;
  double interval_;  // between looks
  ProgressBoard board_;
  std::atomic<double> longest_step_ = 0.0;
  std::atomic<bool> stops_ = false;

  // Of the thread.
  WaitClock clock_;
  WaitClock errors_;  // how long they have been there
  Timer since_look_;
  Timer since_alarm_;
  bool has_alarmed_ = false;
  RankState state_;
  bool is_asked_to_report_ = false;
  bool is_asked_to_end_ = false;
  std::unique_ptr<DeviceProbe> probe_;  // from the first operation of a device on
  std::unique_ptr<SideChannel> side_;
  std::thread thread_;  // last: it uses the others
};

}  // namespace cuboid
