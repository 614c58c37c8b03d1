#include "shared_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>

#include "cuboid/base/handle.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {
namespace {

struct DescriptorTraits {
  using Type = int;
  static Type null() { return -1; }
  static void release(Type file) noexcept { ::close(file); }
};
using SharedFile = Handle<DescriptorTraits>;

using Name = std::array<char, 64>;

// Throws on all ranks where one has met an error (errno; 0: none).
void agree(MPI_Comm comm, int error, const std::string& what) {
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &error, 1, MPI_INT, MPI_MAX, comm));
  if (error != 0) throw NoSharedMemory(what + ": " + std::strerror(error));
}

// "no room for 96.0 MiB in /dev/shm of n1, where 62.0 MiB of 64.0 MiB are free"
std::string no_room_text(int file, std::size_t bytes) {
  std::array<char, MPI_MAX_PROCESSOR_NAME> host{};
  int length = 0;
  check_mpi(MPI_Get_processor_name(host.data(), &length));
  std::string text = "no room for " + short_bytes(static_cast<double>(bytes)) + " in /dev/shm of " +
                     std::string(host.data(), static_cast<std::size_t>(length));
  struct statvfs now{};
  if (::fstatvfs(file, &now) != 0) return text;
  const auto block = static_cast<double>(now.f_frsize);
  return text + ", where " + short_bytes(static_cast<double>(now.f_bavail) * block) + " of " +
         short_bytes(static_cast<double>(now.f_blocks) * block) + " are free";
}

// A name that no other job on the node has.
Name new_name() {
  Name name{};
  std::random_device random;
  std::snprintf(name.data(), name.size(), "/cuboid-%d-%08x%08x", static_cast<int>(::getpid()),
                random(), random());
  return name;
}

// Removes the name when this goes, whatever happened.
class Unlinked {
 public:
  Unlinked(const Name& name, bool owns) : name_(name), owns_(owns) {}
  Unlinked(const Unlinked&) = delete;
  Unlinked& operator=(const Unlinked&) = delete;
  ~Unlinked() {
    if (owns_) ::shm_unlink(name_.data());
  }

 private:
  const Name& name_;
  bool owns_;
};

SharedFile open_by_name(MPI_Comm node, std::size_t bytes, const Name& name) {
  constexpr mode_t kOwner = 0600;
  const bool makes = rank_in(node) == 0;
  const Unlinked unlinked(name, makes);
  SharedFile file;
  int error = 0;
  if (makes) {
    file = SharedFile(::shm_open(name.data(), O_CREAT | O_EXCL | O_RDWR, kOwner));
    if (file.get() < 0 || ::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) error = errno;
  }
  agree(node, error, "cannot make shared memory");
  if (!makes) file = SharedFile(::shm_open(name.data(), O_RDWR, kOwner));
  if (file.get() < 0) error = errno;
  agree(node, error, "cannot open shared memory");
  return file;
}

// A file that all ranks of the node have open. It has no pages yet, and no name any more: with the
// last of them it goes, however they end, also where taking pages gets one killed.
SharedFile open_together(MPI_Comm node, std::size_t bytes) {
  Name name = new_name();
  check_mpi(MPI_Bcast(name.data(), static_cast<int>(name.size()), MPI_CHAR, 0, node));
  return open_by_name(node, bytes, name);
}

// EINTR is no lack of room: tmpfs gives up where a signal comes, of a profiler's timer for example.
int take_pages(int file, std::size_t begin, std::size_t bytes) {
  int error = EINTR;
  while (error == EINTR)
    error = ::posix_fallocate(file, static_cast<off_t>(begin), static_cast<off_t>(bytes));
  return error;
}

}  // namespace

SharedMemory::SharedMemory(MPI_Comm node, std::size_t bytes) : bytes_(bytes) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  stride_ = std::max(page, (bytes + page - 1) / page * page);
  size_ = stride_ * static_cast<std::size_t>(size_of_comm(node));

  const SharedFile file = open_together(node, size_);
  const std::string no_room = no_room_text(file.get(), size_);
  // The name is gone, and all have seen what is free, before anybody takes some.
  check_mpi(MPI_Barrier(node));
  // Each rank asks for its own pages: they come from its NUMA node, and a file system that is full
  // says so here, where a first access would end the process (SIGBUS).
  int error = take_pages(file.get(), stride_ * static_cast<std::size_t>(rank_in(node)), stride_);
  agree(node, error, no_room);
  void* memory = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) {
    error = errno;
  } else {
    whole_ = static_cast<std::byte*>(memory);
    ::madvise(memory, size_, MADV_HUGEPAGE);  // where the system allows it
  }
  try {
    agree(node, error, "cannot map shared memory");
  } catch (...) {
    if (whole_ != nullptr) ::munmap(whole_, size_);
    throw;
  }
}

SharedMemory::~SharedMemory() {
  ::munmap(whole_, size_);
}

}  // namespace cuboid
