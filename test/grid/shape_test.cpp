// ranks: 1
#include "cuboid/grid/shape.hpp"

#include <gtest/gtest.h>

#include <set>

namespace cuboid {
namespace {

TEST(GridShape, RankAndCoordinateAreInverse) {
  for (const GridShape shape : {GridShape{1, 1, 1}, {2, 3, 4}, {4, 1, 2}, {1, 8, 1}}) {
    for (int rank = 0; rank < shape.size(); ++rank) {
      EXPECT_EQ(rank_of(shape, coordinate_of(shape, rank)), rank) << to_string(shape);
    }
  }
}

TEST(GridShape, TensorParallelRanksAreNeighbours) {
  const GridShape shape{.dp = 2, .tp = 3, .pp = 4};
  EXPECT_EQ(coordinate_of(shape, 1), (GridCoordinate{.dp = 0, .tp = 1, .pp = 0}));
  EXPECT_EQ(coordinate_of(shape, 3), (GridCoordinate{.dp = 1, .tp = 0, .pp = 0}));
  EXPECT_EQ(coordinate_of(shape, 6), (GridCoordinate{.dp = 0, .tp = 0, .pp = 1}));
}

TEST(EvenPart, CoversEverythingOnceAndDiffersByAtMostOne) {
  for (std::int64_t total : {0, 1, 5, 12, 13}) {
    for (std::int64_t parts = 1; parts <= 8; ++parts) {
      std::int64_t next = 0;
      std::set<std::int64_t> sizes;
      for (std::int64_t i = 0; i < parts; ++i) {
        const Range part = even_part(total, parts, i);
        EXPECT_EQ(part.begin, next);
        next = part.end;
        sizes.insert(part.size());
      }
      EXPECT_EQ(next, total);
      EXPECT_LE(*sizes.rbegin() - *sizes.begin(), 1);
    }
  }
}

TEST(BlockPart, LastPartsMayBeShortOrEmpty) {
  EXPECT_EQ(block_part(5, 2, 1), (Range{2, 4}));
  EXPECT_EQ(block_part(5, 2, 2), (Range{4, 5}));
  EXPECT_EQ(block_part(5, 2, 3).size(), 0);
}

}  // namespace
}  // namespace cuboid
