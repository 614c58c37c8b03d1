#include "cuboid/checkpoint/digest.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "cuboid/base/philox.hpp"
#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are stored as they lie");

constexpr std::int64_t kBlock = 1024;

// The finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection.
constexpr std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

constexpr std::uint64_t block_key(std::int64_t block) {
  return mix((static_cast<std::uint64_t>(block) + 1) * 0x9E3779B97F4A7C15U) | 1U;
}

// Distinct because an odd factor modulo 2^31 permutes, and the last bit is always set.
constexpr auto kKeys = [] {
  std::array<std::uint32_t, kBlock> keys{};
  for (std::uint32_t j = 0; j < keys.size(); ++j) {
    std::uint32_t x = (j + 1) * 0x1E3779B9U & 0x7FFFFFFFU;
    x = ((x ^ (x >> 15)) * 0x2C1B3C6DU) & 0x7FFFFFFFU;
    x = ((x ^ (x >> 12)) * 0x297A2D39U) & 0x7FFFFFFFU;
    keys[j] = (x ^ (x >> 15)) << 1 | 1U;
  }
  return keys;
}();

// Sum of keys times words: 32 x 32 -> 64 bit products, which every vector unit has.
template <typename Word>
std::uint64_t sum_in_block(const std::byte* data, const std::uint32_t* keys, std::int64_t count) {
  std::uint64_t sum = 0;
  for (std::int64_t j = 0; j < count; ++j) {
    Word word;
    std::memcpy(&word, data + static_cast<std::size_t>(j) * sizeof(Word), sizeof(Word));
    sum += std::uint64_t{word} * keys[j];
  }
  return sum;
}

template <typename Word>
std::uint64_t sum_of_words(const std::byte* data, std::int64_t position, std::int64_t count) {
  std::uint64_t sum = 0;
  while (count > 0) {
    const std::int64_t in_block = position % kBlock;
    const std::int64_t n = std::min(count, kBlock - in_block);
    sum += block_key(position / kBlock) * sum_in_block<Word>(data, kKeys.data() + in_block, n);
    data += static_cast<std::size_t>(n) * sizeof(Word);
    position += n;
    count -= n;
  }
  return sum;
}

}  // namespace

std::uint64_t digest_sum(DType dtype, std::span<const std::int64_t> shape, const Box& box,
                         const void* data) {
  std::uint64_t sum = 0;
  for_each_run(box, shape, [&](const Run& run) {
    const auto* at = static_cast<const std::byte*>(data) +
                     static_cast<std::size_t>(run.box_begin) * size_of(dtype);
    switch (dtype) {
      case DType::kFloat32:
        sum += sum_of_words<std::uint32_t>(at, run.tensor_begin, run.count);
        break;
      case DType::kFloat64:
      case DType::kInt64:
        sum += sum_of_words<std::uint32_t>(at, run.tensor_begin * 2, run.count * 2);
        break;
      case DType::kBFloat16:
        sum += sum_of_words<std::uint16_t>(at, run.tensor_begin, run.count);
        break;
      case DType::kUInt8: sum += sum_of_words<std::uint8_t>(at, run.tensor_begin, run.count); break;
    }
  });
  return sum;
}

std::uint64_t finish_digest(DType dtype, std::span<const std::int64_t> shape, std::uint64_t sum) {
  return mix(sum ^ stream_of(std::string(name_of(dtype)) + " " + to_string(shape)));
}

std::string digest_text(std::uint64_t digest) {
  return format("%016llx", static_cast<unsigned long long>(digest));
}

}  // namespace cuboid
