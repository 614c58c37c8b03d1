// Memory that all ranks of a node see.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <stdexcept>

namespace cuboid {

// Why there is none, for people. Not an error of the run, which can do without.
class NoSharedMemory : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Each rank has `bytes` of its own in it, aligned to a page, on its own NUMA node, zero; it reads
// and writes the others' as well. Ordering is the users' to bring about, with atomics. POSIX shared
// memory rather than an MPI-3 window: see src/collective/README.md.
class SharedMemory {
 public:
  // Collective over `node`, whose ranks run on one node. Throws NoSharedMemory, on all ranks or
  // on none; above all where /dev/shm has no room.
  SharedMemory(MPI_Comm node, std::size_t bytes);
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory();

  [[nodiscard]] std::byte* of(int rank) const {
    return whole_ + static_cast<std::size_t>(rank) * stride_;
  }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  std::size_t bytes_;
  std::size_t stride_;  // from one rank's part to the next
  std::size_t size_ = 0;
  std::byte* whole_ = nullptr;
};

}  // namespace cuboid
