// The part of dropout that host and device code share; free of LibTorch, so that nvcc reads it.
#pragma once

#include <cstdint>

#include "cuboid/base/philox.hpp"

namespace cuboid {

// Which mask: `sites` numbers the places in the model (below 2^16).
struct DropoutKey {
  std::uint64_t seed = 0;
  std::int64_t first_sample = 0;  // global number of the first sequence of `x` in the whole run
  std::uint32_t site = 0;
  // Added to first_sample where it is set: a number in the memory of the device that drops, read
  // there, so that a captured step drops others each time that it is replayed.
  const std::int64_t* samples_before = nullptr;
};

namespace detail {

// Elements below the threshold are dropped.
struct DropoutLaunch {
  std::int64_t num_sequences;
  std::int64_t elements_per_sequence;
  std::uint32_t threshold;
  float scale;
  DropoutKey key;
};

// Philox stream of one sample at one site.
CUBOID_HOST_DEVICE constexpr std::uint64_t dropout_stream(const DropoutKey& key,
                                                          std::int64_t sequence) {
  const std::int64_t before = key.samples_before == nullptr ? 0 : *key.samples_before;
  return (static_cast<std::uint64_t>(before + key.first_sample + sequence) << 16) | key.site;
}

// In dropout.cu; asynchronous on `stream` (a cudaStream_t). Throws SystemError.
void launch_dropout(float* x, const DropoutLaunch& launch, void* stream);
void launch_dropout_bf16(void* x, const DropoutLaunch& launch, void* stream);

}  // namespace detail

}  // namespace cuboid
