// ranks: 1
#include "cuboid/checkpoint/layout.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "cuboid/checkpoint/tensor_slice.hpp"
#include "fixture.hpp"

namespace cuboid {
namespace {

using Shape = std::vector<std::int64_t>;

// Shapes of up to four dims and random boxes in them, empty ones included.
template <typename Visit>
void for_random_boxes(int count, Visit visit) {
  std::mt19937 random(1);  // NOLINT(bugprone-random-generator-seed): the same boxes in every run
  const auto below = [&](std::int64_t n) {
    return std::uniform_int_distribution<std::int64_t>(0, n - 1)(random);
  };
  for (int i = 0; i < count; ++i) {
    Shape shape(1 + static_cast<std::size_t>(below(4)));
    for (auto& n : shape) n = 1 + below(6);
    Box box = whole(shape);
    for (std::size_t d = 0; d < shape.size(); ++d) {
      if (below(3) == 0) continue;
      box.offset[d] = below(shape[d] + 1);
      box.extent[d] = below(shape[d] - box.offset[d] + 1);
    }
    visit(box, shape);
  }
}

bool holds(const Box& box, const Shape& shape, std::int64_t flat) {
  for (std::size_t d = shape.size(); d-- > 0;) {
    const std::int64_t at = flat % shape[d];
    flat /= shape[d];
    if (at < box.offset[d] || at >= box.offset[d] + box.extent[d]) return false;
  }
  return true;
}

TEST(Layout, RunsAreTheBoxInOrder) {
  for_random_boxes(2000, [](const Box& box, const Shape& shape) {
    std::vector<std::int64_t> wanted;
    for (std::int64_t i = 0; i < volume(shape); ++i)
      if (holds(box, shape, i)) wanted.push_back(i);
    std::vector<std::int64_t> got;
    int num_runs = 0;
    for_each_run(box, shape, [&](const cuboid::Run& run) {
      EXPECT_EQ(run.box_begin, static_cast<std::int64_t>(got.size()));
      for (std::int64_t i = 0; i < run.count; ++i) got.push_back(run.tensor_begin + i);
      ++num_runs;
    });
    EXPECT_EQ(got, wanted) << to_string(shape) << to_string(box.offset) << to_string(box.extent);
    EXPECT_EQ(is_one_run(box, shape),
              wanted.empty() ||
                  wanted.back() - wanted.front() == static_cast<std::int64_t>(wanted.size()) - 1);
    if (is_one_run(box, shape)) {
      EXPECT_LE(num_runs, 1);
    }
  });
}

TEST(Layout, PiecesAreTheBoxInOrderAndSmallEnough) {
  for_random_boxes(2000, [](const Box& box, const Shape& shape) {
    for (const std::int64_t max : {1, 2, 5, 7, 1000}) {
      std::vector<std::int64_t> by_pieces;
      for (const Box& piece : pieces_of(box, max)) {
        EXPECT_LE(volume(piece.extent), max);
        EXPECT_GT(volume(piece.extent), 0);
        for_each_run(piece, shape, [&](const cuboid::Run& run) {
          for (std::int64_t i = 0; i < run.count; ++i) by_pieces.push_back(run.tensor_begin + i);
        });
      }
      std::vector<std::int64_t> whole_box;
      for_each_run(box, shape, [&](const cuboid::Run& run) {
        for (std::int64_t i = 0; i < run.count; ++i) whole_box.push_back(run.tensor_begin + i);
      });
      EXPECT_EQ(by_pieces, whole_box);
    }
  });
}

TEST(Layout, TilesMeansEveryElementOnce) {
  const Shape shape{6, 4};
  EXPECT_TRUE(tiles({{{0, 0}, {3, 4}}, {{3, 0}, {3, 4}}}, shape));
  EXPECT_TRUE(tiles({{{0, 0}, {6, 1}}, {{0, 1}, {6, 3}}, {{2, 2}, {0, 4}}}, shape));
  EXPECT_TRUE(tiles({{{3, 0}, {3, 2}}, {{3, 2}, {3, 2}}, {{0, 0}, {3, 4}}}, shape));
  EXPECT_FALSE(tiles({{{0, 0}, {3, 4}}}, shape));                    // a gap
  EXPECT_FALSE(tiles({whole(shape), whole(shape)}, shape));          // twice
  EXPECT_FALSE(tiles({{{0, 0}, {3, 4}}, {{2, 0}, {3, 4}}}, shape));  // as many, overlapping
  EXPECT_FALSE(tiles({{{0, 0}, {6, 5}}}, shape));                    // outside
  EXPECT_FALSE(tiles({{{0, 0}, {6, 2}}, {{0, 1}, {6, 2}}}, shape));  // overlapping columns
  EXPECT_TRUE(tiles({}, Shape{0, 4}));
}

TEST(Layout, BoxesOutsideAreFound) {
  EXPECT_TRUE(is_inside({{0, 4}, {6, 0}}, Shape{6, 4}));
  EXPECT_FALSE(is_inside({{-1, 0}, {2, 2}}, Shape{6, 4}));
  EXPECT_FALSE(is_inside({{0}, {6}}, Shape{6, 4}));
  EXPECT_FALSE(is_inside({{5, 0}, {2, 2}}, Shape{6, 4}));
}

TEST(TensorSlice, SharesOfABoxTileItAndKeepItsData) {
  for_random_boxes(500, [](const Box& box, const Shape& shape) {
    auto owned = testing_checkpoint::make_slice("t", DType::kFloat32, shape, box, true);
    for (const int parts : {1, 2, 3, 8}) {
      std::vector<unsigned char> together;
      std::int64_t count = 0;
      for (int index = 0; index < parts; ++index) {
        const TensorSlice share = share_of(owned.slice, parts, index);
        EXPECT_NO_THROW(require_valid(share));
        const auto want =
            testing_checkpoint::make_slice("t", DType::kFloat32, shape, share.box(), true);
        const auto* data = static_cast<const unsigned char*>(share.data.data);
        EXPECT_TRUE(std::equal(want.bytes.begin(), want.bytes.end(), data));
        count += share.data.count;
      }
      EXPECT_EQ(count, volume(box.extent));
    }
  });
}

TEST(TensorSlice, WhatDoesNotFitTogetherIsRefused) {
  std::vector<float> data(12);
  const TensorSlice good{.name = "a/b.c",
                         .shape = {4, 3},
                         .offset = {0, 0},
                         .extent = {4, 3},
                         .data = buffer_of(std::span(data))};
  EXPECT_NO_THROW(require_valid(good));
  const auto refused = [&](auto change) {
    TensorSlice slice = good;
    change(slice);
    EXPECT_THROW(require_valid(slice), std::logic_error);
  };
  for (const char* name : {"", "/a", "a/", "a//b", "a/./b", "..", "a/.."})
    refused([&](TensorSlice& s) { s.name = name; });
  refused([](TensorSlice& s) { s.dtype = DType::kFloat64; });
  refused([](TensorSlice& s) { s.data.count = 11; });
  refused([](TensorSlice& s) { s.offset[0] = 1; });
  refused([](TensorSlice& s) { s.data.place = Place::kDevice; });
  refused([](TensorSlice& s) { s.data.data = nullptr; });
  refused([](TensorSlice& s) { s.shape = s.offset = s.extent = {}; });
}

}  // namespace
}  // namespace cuboid
