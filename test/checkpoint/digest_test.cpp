// ranks: 1
#include "cuboid/checkpoint/digest.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "fixture.hpp"

namespace cuboid {
namespace {

using testing_checkpoint::make_slice;
using Shape = std::vector<std::int64_t>;

std::uint64_t whole_sum(DType dtype, const Shape& shape, const void* data) {
  return digest_sum(dtype, shape, whole(shape), data);
}

TEST(Digest, DoesNotDependOnTheSlicing) {
  for (const DType dtype :
       {DType::kFloat32, DType::kFloat64, DType::kBFloat16, DType::kInt64, DType::kUInt8}) {
    for (const Shape& shape : {Shape{5000}, Shape{70, 41}, Shape{3, 17, 50}, Shape{1, 1}}) {
      const auto all = make_slice("t", dtype, shape, whole(shape), true);
      const std::uint64_t wanted = whole_sum(dtype, shape, all.bytes.data());
      for (std::size_t dim = 0; dim < shape.size(); ++dim) {
        for (const int parts : {2, 3, 7}) {
          std::uint64_t sum = 0;
          for (int p = 0; p < parts; ++p) {
            Box box = whole(shape);
            testing_checkpoint::cut_dim(box, dim, even_part(shape[dim], parts, p));
            const auto part = make_slice("t", dtype, shape, box, true);
            sum += digest_sum(dtype, shape, box, part.bytes.data());
          }
          EXPECT_EQ(sum, wanted) << name_of(dtype) << to_string(shape) << " dim " << dim;
        }
      }
    }
  }
}

// Computed by witness.py. A change of the function is a change of the format.
TEST(Digest, HasTheValuesOfTheWitness) {
  std::vector<float> values(3000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.25F * static_cast<float>(i) - 7.0F;
  const Shape shape{30, 100};
  EXPECT_EQ(digest_text(finish_digest(DType::kFloat32, shape,
                                      whole_sum(DType::kFloat32, shape, values.data()))),
            "2d10435a89097835");
  const std::vector<std::uint8_t> bytes{1, 2, 3};
  EXPECT_EQ(digest_text(finish_digest(DType::kUInt8, Shape{3},
                                      whole_sum(DType::kUInt8, Shape{3}, bytes.data()))),
            "03904c44321bde88");
}

TEST(Digest, EveryFlippedBitShows) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat64, DType::kBFloat16, DType::kUInt8}) {
    const Shape shape{1500};
    auto all = make_slice("t", dtype, shape, whole(shape), true);
    const std::uint64_t before = whole_sum(dtype, shape, all.bytes.data());
    for (std::size_t i = 0; i < all.bytes.size(); i += 3) {
      for (int bit = 0; bit < 8; ++bit) {
        all.bytes[i] = static_cast<unsigned char>(all.bytes[i] ^ (1 << bit));
        ASSERT_NE(whole_sum(dtype, shape, all.bytes.data()), before);
        all.bytes[i] = static_cast<unsigned char>(all.bytes[i] ^ (1 << bit));
      }
    }
  }
}

TEST(Digest, SwappedElementsShow) {
  std::mt19937 random(3);  // NOLINT(bugprone-random-generator-seed): the same in every run
  std::vector<float> values(10000);
  for (auto& v : values) v = static_cast<float>(random() % 4);  // few values, many zero bits
  const Shape shape{10000};
  const std::uint64_t before = whole_sum(DType::kFloat32, shape, values.data());
  int swaps = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    float& a = values[random() % values.size()];
    float& b = values[random() % values.size()];
    if (a == b) continue;
    std::swap(a, b);
    ASSERT_NE(whole_sum(DType::kFloat32, shape, values.data()), before);
    std::swap(a, b);
    ++swaps;
  }
  EXPECT_GT(swaps, 1000);
}

// One set element at each place: all sums differ, so all keys do.
TEST(Digest, EveryPlaceHasItsOwnKey) {
  const Shape shape{4096};
  std::vector<std::uint8_t> values(4096, 0);
  std::set<std::uint64_t> sums;
  for (auto& v : values) {
    v = 1;
    sums.insert(whole_sum(DType::kUInt8, shape, values.data()));
    v = 0;
  }
  EXPECT_EQ(sums.size(), values.size());
}

TEST(Digest, DTypeAndShapeCount) {
  EXPECT_NE(finish_digest(DType::kFloat32, Shape{2, 3}, 5),
            finish_digest(DType::kFloat32, Shape{3, 2}, 5));
  EXPECT_NE(finish_digest(DType::kFloat64, Shape{2, 3}, 5),
            finish_digest(DType::kInt64, Shape{2, 3}, 5));
}

}  // namespace
}  // namespace cuboid
