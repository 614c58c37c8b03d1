// Memory that all ranks of a node's communicator see: an MPI-3 shared window (MPI 3.1, section
// 11.2.3).
#pragma once

#include <mpi.h>

#include <cstddef>
#include <vector>

#include "cuboid/collective/communicator.hpp"

namespace cuboid {

// Each rank has `bytes` of its own in it, aligned to 64 bytes, on pages of its own NUMA node, and
// reads and writes the others' as well. Ordering is the users' to bring about, with atomics.
class SharedMemory {
 public:
  // Collective over `node`, whose ranks must share memory. Throws SystemError on all ranks or on
  // none.
  SharedMemory(MPI_Comm node, std::size_t bytes);
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  // Collective; but while an exception unwinds the stack the memory is left behind, for the others
  // may never come.
  ~SharedMemory();

  [[nodiscard]] std::byte* of(int rank) const { return bases_[static_cast<std::size_t>(rank)]; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  std::size_t bytes_;
  int uncaught_;
  MPI_Win window_ = MPI_WIN_NULL;
  std::vector<std::byte*> bases_;
};

// Whether all ranks of `comm` run on one node. Collective.
bool is_on_one_node(MPI_Comm comm);

}  // namespace cuboid
