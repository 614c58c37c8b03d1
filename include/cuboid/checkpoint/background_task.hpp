// Collective work on a thread of each rank, beside the training.
#pragma once

#include <mpi.h>

#include <atomic>
#include <exception>
#include <functional>
#include <thread>

#include "cuboid/grid/grid.hpp"

namespace cuboid {

// One piece of work at a time, on a communicator that nothing else uses. Members are for one
// thread.
class BackgroundTask {
 public:
  // Collective: duplicates the communicator.
  explicit BackgroundTask(MPI_Comm comm);
  BackgroundTask(const BackgroundTask&) = delete;
  BackgroundTask& operator=(const BackgroundTask&) = delete;
  // Waits for the work. What it threw is lost unless finish() was called.
  ~BackgroundTask();

  // Collective. Waits for earlier work as finish() does, then runs `work` on a thread of its own,
  // which signals do not reach. `work` must throw on all ranks where it throws on one.
  void start(std::function<void(MPI_Comm)> work);
  // Waits for the work, if there is any, and throws what it threw, once.
  void finish();
  // True while there is work that has not ended.
  [[nodiscard]] bool is_running() const { return state_ == State::kRunning; }
  // True where the work has ended by throwing and finish() has not been called since.
  [[nodiscard]] bool has_failed() const { return state_ == State::kFailed; }

 private:
  enum class State : unsigned char { kIdle, kRunning, kFailed };

  MpiComm comm_;
  std::atomic<State> state_ = State::kIdle;
  std::exception_ptr error_;
  std::jthread thread_;
};

}  // namespace cuboid
