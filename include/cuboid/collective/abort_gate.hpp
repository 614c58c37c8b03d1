// Keeps a thread from a communicator that another thread aborts, which frees it.
#pragma once

#include <mutex>

namespace cuboid {

class AbortGate {
 public:
  // Calls `use`, which does not take long, before the communicator is aborted or not at all. False:
  // it was not called, and nothing may be asked of the communicator any more.
  template <typename Use>
  [[nodiscard]] bool pass(Use use) {
    const std::scoped_lock lock(mutex_);
    if (!is_closed_) use();
    return !is_closed_;
  }
  // True for the first who closes it, who may then abort: whoever was in pass() has left it.
  [[nodiscard]] bool close() {
    const std::scoped_lock lock(mutex_);
    const bool is_first = !is_closed_;
    is_closed_ = true;
    return is_first;
  }
  [[nodiscard]] bool is_closed() {
    const std::scoped_lock lock(mutex_);
    return is_closed_;
  }

 private:
  std::mutex mutex_;
  bool is_closed_ = false;
};

// For a thread that may go no further, in a process that another thread is about to end.
[[noreturn]] void wait_for_the_end();

}  // namespace cuboid
