// Philox4x32-10: random numbers as a pure function of (key, counter), so that every rank of every
// grid can compute its own slice of one global sequence.
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "cuboid/base/host_device.hpp"

namespace cuboid {

struct PhiloxBlock {
  std::uint32_t word[4];
};

// Four random words for block `counter` of the stream that (key, stream) names.
CUBOID_HOST_DEVICE constexpr PhiloxBlock philox(std::uint64_t key, std::uint64_t stream,
                                                std::uint64_t counter) {
  std::uint32_t k0 = static_cast<std::uint32_t>(key);
  std::uint32_t k1 = static_cast<std::uint32_t>(key >> 32);
  PhiloxBlock x{{static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
                 static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)}};
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * x.word[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57U} * x.word[2];
    x = PhiloxBlock{
        {static_cast<std::uint32_t>(p1 >> 32) ^ x.word[1] ^ k0, static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ x.word[3] ^ k1, static_cast<std::uint32_t>(p0)}};
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return x;
}

// A uniform number in (0, 1) with 23 bits: exact in fp32, never 0 or 1.
CUBOID_HOST_DEVICE constexpr float uniform_of(std::uint32_t word) {
  return (static_cast<float>(word >> 9) + 0.5F) * (1.0F / 8388608.0F);
}

// The stream number of a name (FNV-1a, 64 bits).
constexpr std::uint64_t stream_of(std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return hash;
}

}  // namespace cuboid
