// The order of the data as a pure function of (seed, consumed samples): the same on every grid, for
// every micro-batch size and after every restart, with no state and no permutation in memory.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace cuboid {

// A pseudo-random permutation of [0, size) for each key, O(1) a value: twelve Feistel rounds over
// Z_a x Z_b with a * b >= size, walking on until the value is below size.
// Source: Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002.
class Permutation {
 public:
  Permutation(std::int64_t size, std::uint64_t seed);
  // The value at `index` (0 <= index < size) of permutation `key`.
  [[nodiscard]] std::int64_t at(std::uint64_t key, std::int64_t index) const;

 private:
  [[nodiscard]] std::uint64_t encrypt(std::uint64_t key, std::uint64_t value) const;

  std::uint64_t size_, left_, right_, seed_;
};

struct Sample {
  std::int64_t epoch = 0;
  std::int64_t window = 0;        // of the epoch
  std::int64_t token_offset = 0;  // first of the sample's seq_length + 1 tokens; its global id
  bool operator==(const Sample&) const = default;
};

// Epoch e consists of the windows [o_e + i T, o_e + i T + T], T = seq_length, each once, in the
// order of permutation e. o_e is drawn from [0, T) for each epoch, so that over the epochs samples
// begin at every token; the number of windows, max(1, floor((tokens - T) / T)), leaves room for
// that. (With fewer than 2 T tokens there is one window, and o_e has what room is left.)
class TrainSampler {
 public:
  // Needs num_tokens > seq_length > 0.
  TrainSampler(std::int64_t num_tokens, std::int64_t seq_length, std::uint64_t seed);

  [[nodiscard]] std::int64_t windows_per_epoch() const { return windows_; }
  // The sample that comes after `consumed` others.
  [[nodiscard]] Sample at(std::int64_t consumed) const;

 private:
  std::int64_t seq_length_, windows_, offsets_;
  std::uint64_t seed_;
  Permutation order_;
};

// Fixed samples spread evenly over a validation split: windows that do not overlap as long as there
// are enough of them.
class ValidationSampler {
 public:
  // At most `steps` global batches (at least one), and no more than there are windows for.
  ValidationSampler(std::int64_t num_tokens, std::int64_t seq_length, std::int64_t steps,
                    std::int64_t global_batch_size);

  [[nodiscard]] std::int64_t num_batches() const { return num_batches_; }
  // First token of sample `index`; starts again after num_batches() global batches.
  [[nodiscard]] std::int64_t token_offset(std::int64_t index) const;

 private:
  std::int64_t num_tokens_, seq_length_, windows_;
  std::int64_t num_batches_ = 0, num_samples_ = 0;
};

// 16 hexadecimal digits of XXH3-64 over a global batch's sample ids (token offsets) in order, as
// little-endian int64.
std::string sample_digest(std::span<const std::int64_t> token_offsets);

}  // namespace cuboid
