#include "cuboid/checkpoint/background_task.hpp"

#include <utility>

#include "cuboid/base/signals_blocked.hpp"

namespace cuboid {

BackgroundTask::BackgroundTask(MPI_Comm comm) {
  check_mpi(MPI_Comm_dup(comm, comm_.out()));
  check_mpi(MPI_Comm_set_errhandler(comm_.get(), MPI_ERRORS_RETURN));
}

BackgroundTask::~BackgroundTask() = default;

void BackgroundTask::start(std::function<void(MPI_Comm)> work) {
  finish();
  state_ = State::kRunning;
  const SignalsBlocked blocked;
  thread_ = std::jthread([this, work = std::move(work)] {
    State end = State::kIdle;
    try {
      work(comm_.get());
    } catch (...) {
      error_ = std::current_exception();
      end = State::kFailed;
    }
    state_ = end;
  });
}

void BackgroundTask::finish() {
  if (thread_.joinable()) thread_.join();
  state_ = State::kIdle;
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace cuboid
