// Files that are read in place: a regular file opened safely and mapped read-only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "cuboid/base/handle.hpp"

namespace cuboid {

struct FileDescriptorTraits {
  using Type = int;
  static Type null() { return -1; }
  static void release(Type descriptor) noexcept;
};
using FileDescriptor = Handle<FileDescriptorTraits>;

struct OpenedFile {
  FileDescriptor descriptor;
  std::int64_t bytes = 0;
  std::int64_t modified_ns = 0;  // since the epoch
};

// Opens a regular file for reading (close-on-exec; never waits, so that a FIFO is refused instead
// of hanging). Throws UsageError naming `path` when it is missing, unreadable or not regular.
OpenedFile open_regular_file(const std::string& path);

// Reads up to out.size() bytes at `offset`; fewer only at the end of the file. Throws SystemError.
std::size_t read_at(int descriptor, std::int64_t offset, std::span<std::byte> out,
                    const std::string& path);

struct Mapping {
  void* address = nullptr;
  std::size_t length = 0;
  bool operator==(const Mapping&) const = default;
};
struct MappingTraits {
  using Type = Mapping;
  static Type null() { return {}; }
  static void release(Type mapping) noexcept;
};

class MappedFile {
 public:
  // Throws UsageError (see open_regular_file, and for an empty file) and SystemError.
  explicit MappedFile(std::string path);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::span<const std::byte> bytes() const {
    return {static_cast<const std::byte*>(mapping_.get().address), mapping_.get().length};
  }
  // Throws SystemError when the file's size is no longer what was mapped: reading past the end of a
  // file that shrank would kill the process with SIGBUS.
  void check_unchanged() const;

 private:
  std::string path_;
  FileDescriptor descriptor_;
  Handle<MappingTraits> mapping_;
};

}  // namespace cuboid
