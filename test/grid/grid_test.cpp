// ranks: 1 2 4 8
#include "cuboid/grid/grid.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace cuboid {
namespace {

// The world's ranks in `comm`, in the order of their ranks there.
std::vector<int> members(MPI_Comm comm) {
  int size = 0;
  int world_rank = 0;
  MPI_Comm_size(comm, &size);
  MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
  std::vector<int> ranks(static_cast<std::size_t>(size));
  MPI_Allgather(&world_rank, 1, MPI_INT, ranks.data(), 1, MPI_INT, comm);
  return ranks;
}

std::vector<GridShape> shapes_of(int size) {
  std::vector<GridShape> shapes;
  for (int dp = 1; dp <= size; ++dp) {
    for (int tp = 1; tp <= size; ++tp) {
      if (size % (dp * tp) == 0) shapes.push_back({dp, tp, size / (dp * tp)});
    }
  }
  return shapes;
}

// The ranks for which `selects` holds, in the world's order. Written from the definition of the
// order, rank = (pp * DP + dp) * TP + tp, not with the grid's own functions.
template <typename Predicate>
std::vector<int> ranks_where(const GridShape& shape, Predicate selects) {
  std::vector<int> ranks;
  for (int pp = 0; pp < shape.pp; ++pp) {
    for (int dp = 0; dp < shape.dp; ++dp) {
      for (int tp = 0; tp < shape.tp; ++tp) {
        if (selects(GridCoordinate{dp, tp, pp})) {
          ranks.push_back((pp * shape.dp + dp) * shape.tp + tp);
        }
      }
    }
  }
  return ranks;
}

class GridTest : public testing::Test {
 protected:
  void SetUp() override {
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  }
  int size_ = 0;
  int rank_ = 0;
};

TEST_F(GridTest, EachAxisHoldsTheRanksThatDifferInItOnly) {
  for (const GridShape& shape : shapes_of(size_)) {
    SCOPED_TRACE(to_string(shape));
    const Grid grid(MPI_COMM_WORLD, shape);
    const GridCoordinate at = grid.at();
    using Place = const GridCoordinate&;
    EXPECT_EQ(grid.rank(), rank_);
    EXPECT_EQ(members(grid.world()), ranks_where(shape, [](Place) { return true; }));
    EXPECT_EQ(members(grid.dp()),
              ranks_where(shape, [&](Place o) { return o.tp == at.tp && o.pp == at.pp; }));
    EXPECT_EQ(members(grid.tp()),
              ranks_where(shape, [&](Place o) { return o.dp == at.dp && o.pp == at.pp; }));
    EXPECT_EQ(members(grid.pp()),
              ranks_where(shape, [&](Place o) { return o.dp == at.dp && o.tp == at.tp; }));
    EXPECT_EQ(members(grid.model_parallel()),
              ranks_where(shape, [&](Place o) { return o.dp == at.dp; }));
  }
}

TEST_F(GridTest, EndsAndNeighboursJoinStagesOfOnePipeline) {
  for (const GridShape& shape : shapes_of(size_)) {
    SCOPED_TRACE(to_string(shape));
    const Grid grid(MPI_COMM_WORLD, shape);
    const GridCoordinate at = grid.at();
    const auto stages = [&](std::vector<int> wanted) {
      return ranks_where(shape, [&](const GridCoordinate& o) {
        return o.dp == at.dp && o.tp == at.tp &&
               std::find(wanted.begin(), wanted.end(), o.pp) != wanted.end();
      });
    };
    const int last = shape.pp - 1;
    EXPECT_EQ(grid.is_first_stage(), at.pp == 0);
    EXPECT_EQ(grid.is_last_stage(), at.pp == last);
    const bool end = at.pp == 0 || at.pp == last;
    EXPECT_EQ(members(grid.ends()), end ? stages({0, last}) : stages({at.pp}));
    EXPECT_EQ(members(grid.with_previous()), stages({at.pp, at.pp > 0 ? at.pp - 1 : at.pp}));
    EXPECT_EQ(members(grid.with_next()), stages({at.pp, at.pp < last ? at.pp + 1 : at.pp}));
  }
}

TEST_F(GridTest, CoordinatesFollowTheWorldGivenNotMpis) {
  // A world in reverse order: coordinates come from ranks there.
  MpiComm reversed;
  check_mpi(MPI_Comm_split(MPI_COMM_WORLD, 0, -rank_, reversed.out()));
  const GridShape shape{.dp = 1, .tp = size_, .pp = 1};
  const Grid grid(reversed.get(), shape);
  EXPECT_EQ(grid.at().tp, size_ - 1 - rank_);
}

TEST_F(GridTest, AShapeOfAnotherSizeIsRefused) {
  EXPECT_THROW(Grid(MPI_COMM_WORLD, GridShape{.dp = size_ + 1, .tp = 1, .pp = 1}),
               std::logic_error);
}

TEST_F(GridTest, FailuresComeBackAsCodesOnItsCommunicators) {
  const Grid grid(MPI_COMM_WORLD, GridShape{.dp = size_, .tp = 1, .pp = 1});
  int value = 0;
  EXPECT_THROW(check_mpi(MPI_Bcast(&value, 1, MPI_INT, size_, grid.world())), std::runtime_error);
}

}  // namespace
}  // namespace cuboid
