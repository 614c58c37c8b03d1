#include "cuboid/checkpoint/file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "cuboid/base/error.hpp"

namespace cuboid {
namespace {

// Linux moves at most about 2 GiB a call.
constexpr std::size_t kMaxTransfer = std::size_t{1} << 30;

}  // namespace

void DescriptorTraits::release(Type descriptor) noexcept {
  ::close(descriptor);
}

Descriptor open_file(const std::string& path, int flags, const std::string& what) {
  Descriptor file(::open(path.c_str(), flags | O_CLOEXEC, 0666));
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
    const ssize_t got =
        ::pread(file.get(), bytes.data(), std::min(bytes.size(), kMaxTransfer), offset);
    if (got < 0 && errno == EINTR) continue;
    check_errno(got >= 0, what);
    if (got == 0) throw SystemError(what + ": the file ended early");
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += got;
  }
}

void write_at(const Descriptor& file, std::int64_t offset, std::span<const std::byte> bytes,
              const std::string& what) {
  while (!bytes.empty()) {
    const ssize_t put =
        ::pwrite(file.get(), bytes.data(), std::min(bytes.size(), kMaxTransfer), offset);
    if (put < 0 && errno == EINTR) continue;
    check_errno(put > 0, what);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    offset += put;
  }
}

void sync_to_disk(const std::string& path, const std::string& what) {
  const Descriptor file = open_file(path, O_RDONLY, what);
  int result = ::fsync(file.get());
  while (result != 0 && errno == EINTR) result = ::fsync(file.get());
  check_errno(result == 0, what);
}

void set_size_of_file(const Descriptor& file, std::int64_t bytes, const std::string& what) {
  check_errno(::ftruncate(file.get(), bytes) == 0, what);
}

Descriptor open_memory_file(const std::string& what) {
  Descriptor file(::memfd_create("cuboid", MFD_CLOEXEC));
  check_errno(static_cast<bool>(file), what);
  return file;
}

void reserve_space(const Descriptor& file, std::int64_t bytes, const std::string& what) {
  if (bytes == 0) return;
  int result = ::fallocate(file.get(), 0, 0, bytes);
  while (result != 0 && errno == EINTR) result = ::fallocate(file.get(), 0, 0, bytes);
  const bool cannot = result != 0 && (errno == EOPNOTSUPP || errno == ENOSYS);
  check_errno(result == 0 || cannot, what);
}

std::string why_not_written(const std::string& path, std::int64_t begin, std::int64_t end) {
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return std::strerror(errno);
  const std::vector<std::byte> zeros(std::size_t{1} << 20);
  while (begin < end) {
    const auto count = std::min(zeros.size(), static_cast<std::size_t>(end - begin));
    const ssize_t put = ::pwrite(file.get(), zeros.data(), count, begin);
    if (put <= 0 && errno == EINTR) continue;
    if (put <= 0) return std::strerror(errno);
    begin += put;
  }
  return ::fsync(file.get()) == 0 ? "" : std::strerror(errno);
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace cuboid
