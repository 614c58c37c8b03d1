#include "cuboid/checkpoint/file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "cuboid/base/error.hpp"

namespace cuboid {
namespace {

// Linux moves at most about 2 GiB a call.
constexpr std::size_t kMaxTransfer = std::size_t{1} << 30;

// The result of a system call that is made again where a signal interrupts it.
template <typename Call>
auto uninterrupted(const Call& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

}  // namespace

void DescriptorTraits::release(Type descriptor) noexcept {
  ::close(descriptor);
}

Descriptor open_file(const std::string& path, int flags, const std::string& what) {
  Descriptor file(uninterrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC, 0666); }));
  check_errno(static_cast<bool>(file), what);
  return file;
}

std::int64_t size_of_file(const Descriptor& file, const std::string& what) {
  struct stat status{};
  check_errno(::fstat(file.get(), &status) == 0, what);
  return status.st_size;
}

void read_at(const Descriptor& file, std::int64_t offset, std::span<std::byte> bytes,
             const std::string& what) {
  while (!bytes.empty()) {
    const std::size_t count = std::min(bytes.size(), kMaxTransfer);
    const ssize_t got =
        uninterrupted([&] { return ::pread(file.get(), bytes.data(), count, offset); });
    check_errno(got >= 0, what);
    if (got == 0) throw SystemError(what + ": the file ended early");
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += got;
  }
}

void write_at(const Descriptor& file, std::int64_t offset, std::span<const std::byte> bytes,
              const std::string& what) {
  while (!bytes.empty()) {
    const std::size_t count = std::min(bytes.size(), kMaxTransfer);
    const ssize_t put =
        uninterrupted([&] { return ::pwrite(file.get(), bytes.data(), count, offset); });
    check_errno(put >= 0, what);
    // What a device that is full may answer (write(2) says nothing of it).
    if (put == 0) throw SystemError(what + ": nothing more could be written");
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    offset += put;
  }
}

void close_file(Descriptor& file, const std::string& what) {
  // Linux has closed it even where it was interrupted.
  const bool is_closed = ::close(file.detach()) == 0 || errno == EINTR;
  check_errno(is_closed, what);
}

void sync_to_disk(const Descriptor& file, const std::string& what) {
  check_errno(uninterrupted([&] { return ::fsync(file.get()); }) == 0, what);
}

void sync_to_disk(const std::string& path, const std::string& what) {
  Descriptor file = open_file(path, O_RDONLY, what);
  sync_to_disk(file, what);
  close_file(file, what);
}

void begin_writing(const Descriptor& file, std::int64_t offset, std::int64_t bytes) noexcept {
  ::sync_file_range(file.get(), offset, bytes, SYNC_FILE_RANGE_WRITE);
}

void set_size_of_file(const Descriptor& file, std::int64_t bytes, const std::string& what) {
  check_errno(uninterrupted([&] { return ::ftruncate(file.get(), bytes); }) == 0, what);
}

Descriptor open_memory_file(const std::string& what) {
  Descriptor file(::memfd_create("cuboid", MFD_CLOEXEC));
  check_errno(static_cast<bool>(file), what);
  return file;
}

void reserve_space(const Descriptor& file, std::int64_t bytes, const std::string& what) {
  if (bytes == 0) return;
  const int result = uninterrupted([&] { return ::fallocate(file.get(), 0, 0, bytes); });
  const bool cannot = result != 0 && (errno == EOPNOTSUPP || errno == ENOSYS);
  check_errno(result == 0 || cannot, what);
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace cuboid
