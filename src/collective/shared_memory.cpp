#include "shared_memory.hpp"

#include <cstdint>
#include <cstring>
#include <exception>
#include <string>

#include "cuboid/base/error.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {
namespace {

struct MpiInfoTraits {
  using Type = MPI_Info;
  static Type null() { return MPI_INFO_NULL; }
  static void release(Type info) noexcept { MPI_Info_free(&info); }
};

int size_of_comm(MPI_Comm comm) {
  int size = 0;
  check_mpi(MPI_Comm_size(comm, &size));
  return size;
}

constexpr std::uintptr_t kLine = 64;

// MPI aligns to 8 bytes. Segments are mapped at pages, so this is the same byte in all processes.
std::byte* at_a_line(void* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  return static_cast<std::byte*>(memory) + (kLine - address % kLine) % kLine;
}

// Each rank's part on pages of its own, which it touches first.
Handle<MpiInfoTraits> apart() {
  Handle<MpiInfoTraits> info;
  check_mpi(MPI_Info_create(info.out()));
  check_mpi(MPI_Info_set(info.get(), "alloc_shared_noncontig", "true"));
  return info;
}

}  // namespace

SharedMemory::SharedMemory(MPI_Comm node, std::size_t bytes)
    : bytes_(bytes), uncaught_(std::uncaught_exceptions()) {
  int rank = 0;
  check_mpi(MPI_Comm_rank(node, &rank));
  void* mine = nullptr;
  const int code = MPI_Win_allocate_shared(static_cast<MPI_Aint>(bytes + kLine), 1, apart().get(),
                                           node, static_cast<void*>(&mine), &window_);
  int failed = code == MPI_SUCCESS ? 0 : 1;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_SUM, node));
  if (failed != 0) {
    check_mpi(code);
    throw SystemError("MPI: no shared window of " + std::to_string(bytes) + " bytes a rank");
  }
  check_mpi(MPI_Win_lock_all(MPI_MODE_NOCHECK, window_));
  for (int peer = 0; peer < size_of_comm(node); ++peer) {
    MPI_Aint size = 0;
    int unit = 0;
    void* base = nullptr;
    check_mpi(MPI_Win_shared_query(window_, peer, &size, &unit, static_cast<void*>(&base)));
    bases_.push_back(at_a_line(base));
  }
  if (bytes > 0) std::memset(of(rank), 0, bytes);
  check_mpi(MPI_Barrier(node));
}

SharedMemory::~SharedMemory() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized != 0 || std::uncaught_exceptions() > uncaught_) return;
  MPI_Win_unlock_all(window_);
  MPI_Win_free(&window_);
}

bool is_on_one_node(MPI_Comm comm) {
  MpiComm node;
  check_mpi(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, node.out()));
  int apart = size_of_comm(node.get()) == size_of_comm(comm) ? 0 : 1;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &apart, 1, MPI_INT, MPI_MAX, comm));
  return apart == 0;
}

}  // namespace cuboid
