// ranks: 1 2 4 8
#include "cuboid/collective/grid_communicators.hpp"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace cuboid {
namespace {

std::vector<GridShape> shapes_of(int size) {
  std::vector<GridShape> shapes;
  for (int dp = 1; dp <= size; ++dp) {
    for (int tp = 1; tp <= size; ++tp) {
      if (size % (dp * tp) == 0) shapes.push_back({dp, tp, size / (dp * tp)});
    }
  }
  return shapes;
}

class GridCommunicatorsTest : public testing::Test {
 protected:
  void SetUp() override { MPI_Comm_size(MPI_COMM_WORLD, &size_); }
  int size_ = 0;
};

TEST_F(GridCommunicatorsTest, EachIsItsAxis) {
  for (const GridShape& shape : shapes_of(size_)) {
    SCOPED_TRACE(to_string(shape));
    const Grid grid(MPI_COMM_WORLD, shape);
    const GridCommunicators all = make_grid_communicators(grid, Backend::kMpi);
    const GridCoordinate at = grid.at();
    EXPECT_EQ(all.dp->size(), shape.dp);
    EXPECT_EQ(all.dp->rank(), at.dp);
    EXPECT_EQ(all.tp->size(), shape.tp);
    EXPECT_EQ(all.tp->rank(), at.tp);
    EXPECT_EQ(all.model_parallel->size(), shape.tp * shape.pp);
    EXPECT_EQ(all.control->size(), size_);
    EXPECT_EQ(all.control->rank(), grid.rank());
    const bool end = grid.is_first_stage() || grid.is_last_stage();
    EXPECT_EQ(all.ends->size(), end && shape.pp > 1 ? 2 : 1);
    EXPECT_EQ(all.dp->name(), "dp");
    EXPECT_EQ(all.activation_in->name(), "activation_in");
    std::int64_t stage = at.pp + 1;
    all.model_parallel->all_reduce(buffer_of(stage));
    EXPECT_EQ(stage, shape.tp * shape.pp * (shape.pp + 1) / 2);
  }
}

// What a pipeline does: activations go down while gradients go up, all at once.
TEST_F(GridCommunicatorsTest, NeighboursMeetInBothDirections) {
  for (const GridShape& shape : shapes_of(size_)) {
    SCOPED_TRACE(to_string(shape));
    const Grid grid(MPI_COMM_WORLD, shape);
    const GridCommunicators all = make_grid_communicators(grid, Backend::kMpi);
    const int stage = grid.at().pp;
    const float activation = static_cast<float>(grid.rank());
    const float gradient = -static_cast<float>(grid.rank());
    float from_previous = -1;
    float from_next = 1;
    std::vector<PendingWork> works;
    if (!grid.is_first_stage()) {
      works.push_back(all.activation_in->start_receive(buffer_of(from_previous), 0));
      works.push_back(all.gradient_out->start_send({&gradient, 1}, 0));
    }
    if (!grid.is_last_stage()) {
      works.push_back(all.gradient_in->start_receive(buffer_of(from_next), 1));
      works.push_back(all.activation_out->start_send({&activation, 1}, 1));
    }
    for (const PendingWork& work : works) work->wait();
    const int line = shape.dp * shape.tp;
    if (stage > 0) {
      EXPECT_EQ(from_previous, static_cast<float>(grid.rank() - line));
    }
    if (stage < shape.pp - 1) {
      EXPECT_EQ(from_next, -static_cast<float>(grid.rank() + line));
    }
  }
}

}  // namespace
}  // namespace cuboid
