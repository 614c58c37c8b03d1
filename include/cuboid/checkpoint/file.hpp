// Plain POSIX files: what HDF5 does not do (durability, renaming, reading bytes as bytes).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "cuboid/base/handle.hpp"

namespace cuboid {

struct DescriptorTraits {
  using Type = int;
  static Type null() { return -1; }
  static void release(Type descriptor) noexcept;
};
using Descriptor = Handle<DescriptorTraits>;

// All throw SystemError with `what` and the text of errno.

// open(2) with O_CLOEXEC.
Descriptor open_file(const std::string& path, int flags, const std::string& what);
std::int64_t size_of_file(const Descriptor& file, const std::string& what);
// Reads or writes all bytes at `offset`, however many calls that takes.
void read_at(const Descriptor& file, std::int64_t offset, std::span<std::byte> bytes,
             const std::string& what);
void write_at(const Descriptor& file, std::int64_t offset, std::span<const std::byte> bytes,
              const std::string& what);
// Makes the file this long.
void set_size_of_file(const Descriptor& file, std::int64_t bytes, const std::string& what);
// A file without a name, in memory.
Descriptor open_memory_file(const std::string& what);
// close(2), whose failure may be the only word of a write that was lost.
void close_file(Descriptor& file, const std::string& what);
// Waits until the file's data (for a folder: its entries) is on the disk.
void sync_to_disk(const Descriptor& file, const std::string& what);
void sync_to_disk(const std::string& path, const std::string& what);
// Lets the system begin to write these bytes of the file to the disk. A hint: sync_to_disk has the
// last word.
void begin_writing(const Descriptor& file, std::int64_t offset, std::int64_t bytes) noexcept;
// Reserves disk space for the file's first `bytes` bytes, where the file system can.
void reserve_space(const Descriptor& file, std::int64_t bytes, const std::string& what);
// "a/b.h5" -> "a", "b.h5" -> "."
std::string folder_of(const std::string& path);

}  // namespace cuboid
