#include "cuboid/data/sampler.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "cuboid/base/error.hpp"
#include "cuboid/base/philox.hpp"
#include "cuboid/data/digest.hpp"

namespace cuboid {
namespace {

constexpr std::uint64_t kOrderStream = stream_of("data.order");
constexpr std::uint64_t kOffsetStream = stream_of("data.offset");
// Fewer rounds favour some orders where there are few windows (PermutationTest.IsWellMixed).
constexpr std::uint64_t kRounds = 12;

std::uint64_t word64(const PhiloxBlock& block) {
  return block.word[0] | static_cast<std::uint64_t>(block.word[1]) << 32;
}

// Smallest a with a * a >= size.
std::uint64_t root_above(std::uint64_t size) {
  auto root = static_cast<std::uint64_t>(std::sqrt(static_cast<double>(size)));
  while (root * root < size) ++root;
  while (root > 1 && (root - 1) * (root - 1) >= size) --root;
  return root;
}

// `num_tokens`, once it is known that there is one sample to draw from them.
std::int64_t checked_tokens(std::int64_t num_tokens, std::int64_t seq_length) {
  require(seq_length > 0 && num_tokens > seq_length, "there are tokens for one sample");
  return num_tokens;
}

}  // namespace

Permutation::Permutation(std::int64_t size, std::uint64_t seed)
    : size_(static_cast<std::uint64_t>(size)), left_(0), right_(0), seed_(seed) {
  // The halves must fit the 56 bits that encrypt() leaves them in the counter.
  require(size > 0 && size < (std::int64_t{1} << 60), "a permutation has a size");
  left_ = root_above(size_);
  right_ = (size_ + left_ - 1) / left_;
}

std::uint64_t Permutation::encrypt(std::uint64_t key, std::uint64_t value) const {
  std::uint64_t left = value / right_;
  std::uint64_t right = value % right_;
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    // Adding a function of one half to the other can be undone, so each round is a bijection.
    const bool even = round % 2 == 0;
    const std::uint64_t half = even ? right : left;
    const std::uint64_t noise = word64(philox(seed_, kOrderStream + key, round << 56 | half));
    if (even) {
      left = (left + noise % left_) % left_;
    } else {
      right = (right + noise % right_) % right_;
    }
  }
  return left * right_ + right;
}

std::int64_t Permutation::at(std::uint64_t key, std::int64_t index) const {
  require(index >= 0 && static_cast<std::uint64_t>(index) < size_, "an index of the permutation");
  // left_ * right_ is below size + left_, so a second round is rare; the cycle of `index` returns
  // to values below size at the latest at `index` itself.
  auto value = static_cast<std::uint64_t>(index);
  do {
    value = encrypt(key, value);
  } while (value >= size_);
  return static_cast<std::int64_t>(value);
}

TrainSampler::TrainSampler(std::int64_t num_tokens, std::int64_t seq_length, std::uint64_t seed)
    : seq_length_(seq_length),
      windows_(std::max<std::int64_t>(1, checked_tokens(num_tokens, seq_length) / seq_length - 1)),
      offsets_(std::min(seq_length, num_tokens - windows_ * seq_length)),
      seed_(seed),
      order_(windows_, seed) {}

Sample TrainSampler::at(std::int64_t consumed) const {
  Sample sample;
  sample.epoch = consumed / windows_;
  const auto epoch = static_cast<std::uint64_t>(sample.epoch);
  sample.window = order_.at(epoch, consumed % windows_);
  const std::uint64_t noise = word64(philox(seed_, kOffsetStream, epoch));
  const auto start = static_cast<std::int64_t>(noise % static_cast<std::uint64_t>(offsets_));
  sample.token_offset = start + sample.window * seq_length_;
  return sample;
}

ValidationSampler::ValidationSampler(std::int64_t num_tokens, std::int64_t seq_length,
                                     std::int64_t steps, std::int64_t global_batch_size)
    : num_tokens_(checked_tokens(num_tokens, seq_length)),
      seq_length_(seq_length),
      windows_((num_tokens - 1) / seq_length) {
  require(steps > 0 && global_batch_size > 0, "a validation has batches");
  num_batches_ = std::max<std::int64_t>(1, std::min(steps, windows_ / global_batch_size));
  num_samples_ = num_batches_ * global_batch_size;
}

std::int64_t ValidationSampler::token_offset(std::int64_t index) const {
  index %= num_samples_;
  // floor(index * n / num_samples_) without overflow.
  const auto spread = [&](std::int64_t n) {
    return index * (n / num_samples_) + index * (n % num_samples_) / num_samples_;
  };
  if (num_samples_ <= windows_) return spread(windows_) * seq_length_;
  // Fewer windows than one global batch has samples: they overlap, at offsets as even as can be.
  return spread(num_tokens_ - seq_length_);
}

std::string sample_digest(std::span<const std::int64_t> token_offsets) {
  static_assert(std::endian::native == std::endian::little);
  return hex_digest(xxh3(std::as_bytes(token_offsets)));
}

}  // namespace cuboid
