// Message sizes, and memory for messages.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <string>
#include <vector>

#include "../harness/world.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/collective/cuda.hpp"

namespace cuboid::harness {

// Six from 8 B to 256 MiB, or with --all each power of two from 8 B to 1 GiB.
inline std::vector<std::int64_t> message_sizes() {
  std::vector<std::int64_t> sizes;
  for (std::int64_t bytes = 8; bytes <= std::int64_t{1} << 30; bytes *= 2)
    if (world().settings().all || bytes == 8 || bytes == 1 << 10 || bytes == 1 << 15 ||
        bytes == 1 << 20 || bytes == 1 << 25 || bytes == 1 << 28)
      sizes.push_back(bytes);
  return sizes;
}

// "8B", "32KiB", "1MiB".
inline std::string size_name(std::int64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB"};
  int unit = 0;
  for (; bytes >= 1024; bytes /= 1024) ++unit;
  return std::to_string(bytes) + units[unit];
}

inline Place message_place() {
  return world().processor().device.is_cuda() ? Place::kDevice : Place::kHost;
}

// Straight from the system, so that it is given back before the next size asks how much is free.
struct MessageTraits {
  struct Type {
    void* data;
    std::size_t bytes;
    Place place;
    bool operator==(const Type&) const = default;
  };
  static Type null() { return {nullptr, 0, Place::kHost}; }
  static void release(Type memory) noexcept {
    memory.place == Place::kHost ? static_cast<void>(::munmap(memory.data, memory.bytes))
                                 : static_cast<void>(cudaFree(memory.data));
  }
};
using MessageMemory = Handle<MessageTraits>;

// Zeros, of this place.
inline MessageMemory allocate_message(std::int64_t bytes, Place place) {
  const auto size = static_cast<std::size_t>(bytes);
  void* data = nullptr;
  if (place == Place::kDevice) {
    check_cuda(cudaMalloc(&data, size));
    check_cuda(cudaMemset(data, 0, size));
    return MessageMemory({data, size, place});
  }
  data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check_errno(data != MAP_FAILED,
              "memory for messages of " + short_bytes(static_cast<double>(bytes)));
  std::fill_n(static_cast<std::byte*>(data), size, std::byte{0});  // touched: pages exist
  return MessageMemory({data, size, place});
}

}  // namespace cuboid::harness
