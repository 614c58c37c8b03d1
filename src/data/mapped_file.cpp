#include "cuboid/data/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"

namespace cuboid {

void FileDescriptorTraits::release(Type descriptor) noexcept {
  ::close(descriptor);
}

void MappingTraits::release(Type mapping) noexcept {
  ::munmap(mapping.address, mapping.length);
}

OpenedFile open_regular_file(const std::string& path) {
  OpenedFile file;
  // Without O_NONBLOCK, opening a FIFO waits for a writer.
  file.descriptor = FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.descriptor) throw UsageError(path + ": cannot be read: " + std::strerror(errno));
  struct stat status{};
  check_errno(::fstat(file.descriptor.get(), &status) == 0, "fstat of " + path);
  if (!S_ISREG(status.st_mode)) throw UsageError(path + ": is not a regular file");
  file.bytes = status.st_size;
  file.modified_ns = status.st_mtim.tv_sec * std::int64_t{1000000000} + status.st_mtim.tv_nsec;
  return file;
}

std::size_t read_at(int descriptor, std::int64_t offset, std::span<std::byte> out,
                    const std::string& path) {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = ::pread(descriptor, out.data() + done, out.size() - done,
                                offset + static_cast<std::int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    check_errno(got >= 0, "read of " + path);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

MappedFile::MappedFile(std::string path) : path_(std::move(path)) {
  OpenedFile file = open_regular_file(path_);
  if (file.bytes == 0) throw UsageError(path_ + ": is empty (0 bytes)");
  const auto length = static_cast<std::size_t>(file.bytes);
  void* address = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, file.descriptor.get(), 0);
  check_errno(address != MAP_FAILED, "mmap of " + path_);
  mapping_ = Handle<MappingTraits>({address, length});
  descriptor_ = std::move(file.descriptor);
}

void MappedFile::check_unchanged() const {
  struct stat status{};
  check_errno(::fstat(descriptor_.get(), &status) == 0, "fstat of " + path_);
  if (static_cast<std::size_t>(status.st_size) == bytes().size()) return;
  throw SystemError(path_ + ": changed while in use, from " +
                    grouped(static_cast<std::int64_t>(bytes().size())) + " to " +
                    grouped(status.st_size) + " bytes");
}

}  // namespace cuboid
