// ranks: 1
#include "cuboid/data/sampler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "cuboid/data/digest.hpp"

namespace cuboid {
namespace {

std::vector<std::int64_t> permuted(std::int64_t size, std::uint64_t seed, std::uint64_t key) {
  const Permutation permutation(size, seed);
  std::vector<std::int64_t> values(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = permutation.at(key, static_cast<std::int64_t>(i));
  return values;
}

TEST(PermutationTest, IsABijectionForEverySize) {
  std::vector<std::int64_t> sizes(300);
  std::iota(sizes.begin(), sizes.end(), 1);
  for (const std::int64_t size : {1023, 1024, 1025, 4095, 4097, 65536, 99991})
    sizes.push_back(size);
  for (const std::int64_t size : sizes) {
    for (const std::uint64_t key : {0ULL, 1ULL, 7ULL}) {
      auto values = permuted(size, 1234, key);
      std::sort(values.begin(), values.end());
      for (std::size_t i = 0; i < values.size(); ++i)
        ASSERT_EQ(values[i], static_cast<std::int64_t>(i)) << size;
    }
  }
}

TEST(PermutationTest, DependsOnSeedAndKey) {
  const auto one = permuted(1000, 1, 0);
  EXPECT_EQ(one, permuted(1000, 1, 0));
  EXPECT_NE(one, permuted(1000, 2, 0));
  EXPECT_NE(one, permuted(1000, 1, 1));
}

// Every value is about as likely at every place, and neighbours do not stay neighbours.
TEST(PermutationTest, IsWellMixed) {
  constexpr std::int64_t kSize = 6;
  constexpr std::uint64_t kKeys = 6000;
  const Permutation permutation(kSize, 5);
  std::array<std::array<double, kSize>, kSize> counts{};
  std::map<std::vector<std::int64_t>, double> orders;
  for (std::uint64_t key = 0; key < kKeys; ++key) {
    std::vector<std::int64_t> order;
    for (std::int64_t i = 0; i < kSize; ++i) {
      order.push_back(permutation.at(key, i));
      counts[static_cast<std::size_t>(i)][static_cast<std::size_t>(order.back())] += 1;
    }
    orders[order] += 1;
  }
  EXPECT_EQ(orders.size(), 720U);  // all of 6! occur
  // Chi-squared of equally likely orders: 719, standard deviation 38.
  const double expected = static_cast<double>(kKeys) / 720;
  double chi_squared = 0;
  for (const auto& [order, count] : orders)
    chi_squared += (count - expected) * (count - expected) / expected;
  EXPECT_LT(chi_squared, 719 + 4 * 38);
  for (const auto& row : counts)
    for (const double count : row) EXPECT_NEAR(count, 1000, 150);

  const auto values = permuted(10000, 1, 0);
  double steps = 0;
  for (std::size_t i = 1; i < values.size(); ++i)
    steps += std::abs(static_cast<double>(values[i] - values[i - 1]));
  EXPECT_NEAR(steps / 9999, 10000.0 / 3, 100);  // mean distance of independent uniform values
}

TEST(PermutationTest, WorksForHugeSizes) {
  const std::int64_t size = (std::int64_t{1} << 50) + 12345;
  const Permutation permutation(size, 1);
  std::set<std::int64_t> seen;
  for (std::int64_t i = 0; i < 1000; ++i) {
    const auto value = permutation.at(3, size - 1 - i);
    EXPECT_GE(value, 0);
    EXPECT_LT(value, size);
    EXPECT_TRUE(seen.insert(value).second);
  }
}

TEST(TrainSamplerTest, EachWindowOnceAnEpochAndInsideTheData) {
  for (const std::int64_t length : {1, 2, 3, 8, 64}) {
    for (std::int64_t tokens = length + 1; tokens < 6 * length + 3; ++tokens) {
      const TrainSampler sampler(tokens, length, 99);
      const std::int64_t windows = sampler.windows_per_epoch();
      ASSERT_GE(windows, 1);
      ASSERT_GE(windows, (tokens - 1) / length - 1);  // at most one is given up for the offset
      for (std::int64_t epoch = 0; epoch < 5; ++epoch) {
        std::set<std::int64_t> offsets;
        for (std::int64_t i = 0; i < windows; ++i) {
          const Sample sample = sampler.at(epoch * windows + i);
          ASSERT_EQ(sample.epoch, epoch);
          ASSERT_GE(sample.token_offset, 0);
          ASSERT_LE(sample.token_offset + length, tokens - 1);
          offsets.insert(sample.token_offset);
        }
        ASSERT_EQ(static_cast<std::int64_t>(offsets.size()), windows);
        // Windows of one epoch lie side by side.
        ASSERT_EQ(*offsets.rbegin() - *offsets.begin(), (windows - 1) * length);
      }
    }
  }
}

TEST(TrainSamplerTest, EveryOffsetOccurs) {
  const TrainSampler sampler(1000, 16, 3);
  std::set<std::int64_t> starts;
  for (std::int64_t epoch = 0; epoch < 200; ++epoch)
    starts.insert(sampler.at(epoch * sampler.windows_per_epoch()).token_offset % 16);
  EXPECT_EQ(starts.size(), 16U);
}

TEST(TrainSamplerTest, SeedAndEpochChangeTheOrder) {
  const auto order = [](std::uint64_t seed, std::int64_t epoch) {
    const TrainSampler sampler(10001, 10, seed);
    std::vector<std::int64_t> windows;
    for (std::int64_t i = 0; i < sampler.windows_per_epoch(); ++i)
      windows.push_back(sampler.at(epoch * sampler.windows_per_epoch() + i).window);
    return windows;
  };
  EXPECT_NE(order(1, 0), order(2, 0));
  EXPECT_NE(order(1, 0), order(1, 1));
}

// These values never change: a checkpoint's run must go on in the order in which it began. They
// were computed by an independent implementation (in Python) of the definitions in the header.
TEST(TrainSamplerTest, OrderIsFixedForAllTime) {
  const TrainSampler sampler(1003854, 64, 1234);
  EXPECT_EQ(sampler.windows_per_epoch(), 15684);
  EXPECT_EQ(sampler.at(0), (Sample{0, 12774, 817568}));
  EXPECT_EQ(sampler.at(1), (Sample{0, 7550, 483232}));
  EXPECT_EQ(sampler.at(2), (Sample{0, 5746, 367776}));
  EXPECT_EQ(sampler.at(15684), (Sample{1, 140, 9021}));
  EXPECT_EQ(sampler.at(15685), (Sample{1, 10297, 659069}));
  EXPECT_EQ(sampler.at(1000000), (Sample{63, 7820, 500495}));
}

// XXH3's published value for no input, and one from an independent implementation (in Python).
TEST(DigestTest, KnownValues) {
  EXPECT_EQ(sample_digest({}), "2d06800538d394c2");
  const std::array<std::int64_t, 2> ids{817568, 483232};
  EXPECT_EQ(sample_digest(ids), "5b82747fa0ef8b95");
  const std::array<std::int64_t, 2> swapped{483232, 817568};
  EXPECT_NE(sample_digest(swapped), "5b82747fa0ef8b95");
}

TEST(DigestTest, StreamEqualsWhole) {
  std::vector<std::byte> bytes(5000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7);
  Xxh3Stream stream;
  for (std::size_t at = 0; at < bytes.size(); at += 333)
    stream.add(std::span(bytes).subspan(at, std::min<std::size_t>(333, bytes.size() - at)));
  EXPECT_EQ(stream.digest(), xxh3(bytes));
}

TEST(ValidationSamplerTest, SpreadsOverTheWholeSplit) {
  const ValidationSampler sampler(111540, 64, 20, 12);
  EXPECT_EQ(sampler.num_batches(), 20);
  std::vector<std::int64_t> offsets;
  for (std::int64_t i = 0; i < 240; ++i) offsets.push_back(sampler.token_offset(i));
  EXPECT_EQ(offsets.front(), 0);
  EXPECT_GT(offsets.back() + 64 + 111540 / 240, 111540 - 2 * 64);
  for (std::size_t i = 1; i < offsets.size(); ++i) {
    EXPECT_GE(offsets[i] - offsets[i - 1], 7 * 64);
    EXPECT_LE(offsets[i] - offsets[i - 1], 8 * 64);
  }
  EXPECT_EQ(sampler.token_offset(240), offsets[0]);
}

TEST(ValidationSamplerTest, StaysInsideAndDoesNotRepeatWhereItCan) {
  for (const std::int64_t length : {1, 4, 16}) {
    for (std::int64_t tokens = length + 1; tokens < 12 * length; ++tokens) {
      for (const std::int64_t batch : {1, 3, 8}) {
        const ValidationSampler sampler(tokens, length, 4, batch);
        const std::int64_t windows = (tokens - 1) / length;
        ASSERT_EQ(sampler.num_batches(),
                  std::max<std::int64_t>(1, std::min<std::int64_t>(4, windows / batch)));
        std::set<std::int64_t> offsets;
        for (std::int64_t i = 0; i < sampler.num_batches() * batch; ++i) {
          const auto offset = sampler.token_offset(i);
          ASSERT_GE(offset, 0);
          ASSERT_LE(offset + length, tokens - 1);
          offsets.insert(offset);
        }
        const auto distinct = std::min(sampler.num_batches() * batch, tokens - length);
        ASSERT_EQ(static_cast<std::int64_t>(offsets.size()), distinct);
      }
    }
  }
}

TEST(SamplerTest, RefusesWhatHasNoSample) {
  EXPECT_THROW(TrainSampler(64, 64, 1), std::logic_error);
  EXPECT_THROW(TrainSampler(64, 0, 1), std::logic_error);
  EXPECT_THROW(ValidationSampler(64, 64, 1, 1), std::logic_error);
  EXPECT_THROW(Permutation(0, 1), std::logic_error);
  EXPECT_THROW([[maybe_unused]] auto value = Permutation(5, 1).at(0, 5), std::logic_error);
}

}  // namespace
}  // namespace cuboid
