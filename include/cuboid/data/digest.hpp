// XXH3 with 64 bits: checksums of files and of sample orders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace cuboid {

std::uint64_t xxh3(std::span<const std::byte> bytes);

// The same over bytes that come in pieces.
class Xxh3Stream {
 public:
  Xxh3Stream();
  void add(std::span<const std::byte> bytes);
  [[nodiscard]] std::uint64_t digest() const;

 private:
  struct Free {
    void operator()(void* state) const noexcept;
  };
  std::unique_ptr<void, Free> state_;
};

// 16 lower-case hexadecimal digits.
std::string hex_digest(std::uint64_t digest);

}  // namespace cuboid
