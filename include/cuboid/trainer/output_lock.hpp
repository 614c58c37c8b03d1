// One job at a time in an output folder.
#pragma once

#include <string>

#include "cuboid/checkpoint/file.hpp"

namespace cuboid {

// How a folder is locked: by the kernel, which frees the lock when its process dies, however it
// dies; or, where a file system has no locks, by the existence of a file that names its process.
enum class Locking : unsigned char { kKernel, kFileOnly };

class OutputLock {
 public:
  OutputLock() = default;  // holds nothing
  // Locks OUTPUT_DIR/cuboid.lock, in which stands who this is; `job` names the batch job, if any.
  // A lock that a dead process of this machine left behind is taken over. Throws UsageError naming
  // the folder and who has it; SystemError where the file cannot be made.
  OutputLock(const std::string& output_dir, const std::string& job,
             Locking locking = Locking::kKernel);
  OutputLock(OutputLock&& other) noexcept = default;
  OutputLock& operator=(OutputLock&& other) noexcept;
  OutputLock(const OutputLock&) = delete;
  OutputLock& operator=(const OutputLock&) = delete;
  ~OutputLock();

 private:
  void lock(Locking locking);
  bool create_or_take_over();
  void write_owner() const;
  void release() noexcept;

  std::string output_dir_, path_, job_;
  Descriptor file_;
};

}  // namespace cuboid
