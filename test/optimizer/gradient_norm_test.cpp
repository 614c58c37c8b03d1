// ranks: 1 2 4 8
#include "cuboid/optimizer/gradient_norm.hpp"

#include <ATen/ops/arange.h>
#include <gtest/gtest.h>
#include <mpi.h>

#include <cmath>
#include <limits>

#include "cuboid/base/philox.hpp"
#include "cuboid/collective/grid_communicators.hpp"

namespace cuboid {
namespace {

constexpr std::int64_t kHidden = 16;
constexpr std::int64_t kVocabulary = 37;  // TP pads it
constexpr std::int64_t kLayers = 8;

int world_size() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

// A gradient that depends on the logical element only.
float gradient_at(const std::string& name, std::int64_t element) {
  const PhiloxBlock block = philox(5, stream_of(name), static_cast<std::uint64_t>(element));
  return uniform_of(block.word[0]) - 0.4F;
}

LogicalParameter parameter(std::string name, std::vector<std::int64_t> shape, int shard_dim,
                           const Grid& grid) {
  LogicalParameter result{.name = std::move(name), .shape = std::move(shape)};
  result.shard_dim = shard_dim;
  if (shard_dim >= 0) {
    const std::int64_t size = result.shape[static_cast<std::size_t>(shard_dim)];
    const std::int64_t block = (size + grid.shape().tp - 1) / grid.shape().tp;
    result.shard = block_part(size, block, grid.at().tp);
  }
  return result;
}

// A small tied GPT on this rank's slice of the grid: all kinds of parts that there are.
void add_model(WeightStore& store, const Grid& grid) {
  const auto embedding = [&](bool is_copy) {
    LogicalParameter part = parameter("embedding", {kVocabulary, kHidden}, 0, grid);
    part.is_copy = is_copy;
    const std::int64_t block = (kVocabulary + grid.shape().tp - 1) / grid.shape().tp;
    const std::int64_t padding = block - part.local_rows() + 2;
    return &store.add({std::move(part)}, padding);
  };
  Weight* first = grid.is_first_stage() ? embedding(false) : nullptr;
  const Range layers = even_part(kLayers, grid.shape().pp, grid.at().pp);
  for (std::int64_t layer = layers.begin; layer < layers.end; ++layer) {
    const std::string name = "layers." + std::to_string(layer);
    store.add({parameter(name + ".norm", {kHidden}, -1, grid)});
    store.add({parameter(name + ".query", {kHidden, kHidden}, 0, grid),
               parameter(name + ".key", {kHidden, kHidden}, 0, grid),
               parameter(name + ".value", {kHidden, kHidden}, 0, grid)});
    store.add({parameter(name + ".bias", {kHidden}, 0, grid)});
    store.add({parameter(name + ".output", {kHidden, kHidden}, 1, grid)});
    store.add({parameter(name + ".odd", {5}, -1, grid)});  // shorter than the alignment
  }
  if (grid.is_last_stage()) {
    store.add({parameter("final", {kHidden}, -1, grid)});
    if (first != nullptr) store.add_gradient_only(*first);
    if (first == nullptr) embedding(true);
  }
}

// Fills the slices; whatever must not count (padding, copies' own region is filled like the
// owner's, second gradients) holds large numbers or the same values again.
void set_gradients(WeightStore& store) {
  for (const auto& weight : store.weights()) weight->gradient.fill_(1e4F);
  for (const auto& weight : store.weights()) {
    for (const LogicalParameter& part : weight->parts) {
      at::Tensor local = WeightStore::local_part(store.gradients(), *weight, part);
      const auto offset = part.local_offset();
      const std::int64_t columns = local.dim() == 2 ? local.size(1) : 1;
      const std::int64_t all_columns = local.dim() == 2 ? part.shape[1] : 1;
      const std::int64_t column = local.dim() == 2 ? offset[1] : 0;
      for (std::int64_t i = 0; i < local.size(0); ++i) {
        for (std::int64_t j = 0; j < columns; ++j) {
          const std::int64_t element = (offset[0] + i) * all_columns + column + j;
          (local.dim() == 2 ? local[i][j] : local[i]).fill_(gradient_at(part.name, element));
        }
      }
    }
  }
}

double sum_of(const std::string& name, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double value = gradient_at(name, i);
    sum += value * value;
  }
  return sum;
}

// Over whole logical parameters, without any grid.
double expected_norm() {
  double sum = sum_of("embedding", kVocabulary * kHidden) + sum_of("final", kHidden);
  for (std::int64_t layer = 0; layer < kLayers; ++layer) {
    const std::string name = "layers." + std::to_string(layer);
    for (const char* matrix : {".query", ".key", ".value", ".output"}) {
      sum += sum_of(name + matrix, kHidden * kHidden);
    }
    sum += sum_of(name + ".norm", kHidden) + sum_of(name + ".bias", kHidden);
    sum += sum_of(name + ".odd", 5);
  }
  return std::sqrt(sum);
}

TEST(GradientNorm, IsTheSameOnEveryGrid) {
  const int size = world_size();
  int num_grids = 0;
  for (int tp = 1; tp <= size; tp *= 2) {
    for (int pp = 1; tp * pp <= size; pp *= 2) {
      const GridShape shape{.dp = size / (tp * pp), .tp = tp, .pp = pp};
      const Grid grid(MPI_COMM_WORLD, shape);
      const GridCommunicators communicators = make_grid_communicators(grid, Backend::kMpi);
      for (const auto type : {at::kFloat, at::kDouble}) {
        WeightStore store;
        add_model(store, grid);
        store.allocate(type, at::kCPU, /*seed=*/1);
        set_gradients(store);
        const GradientNorm norm(store, *communicators.model_parallel, grid.at().tp);
        EXPECT_NEAR(norm.compute() / expected_norm(), 1, 1e-13) << to_string(shape);
      }
      ++num_grids;
    }
  }
  EXPECT_GE(num_grids, 1);
}

TEST(GradientNorm, CountsLongRunsAndSaysSoWhenNotFinite) {
  const Grid grid(MPI_COMM_WORLD, {.dp = world_size(), .tp = 1, .pp = 1});
  const GridCommunicators communicators = make_grid_communicators(grid, Backend::kMpi);
  WeightStore store;
  add_model(store, grid);
  store.allocate(at::kFloat, at::kCPU, /*seed=*/1);
  set_gradients(store);
  const GradientNorm norm(store, *communicators.model_parallel, 0);
  EXPECT_EQ(norm.counted().size(), 2U);  // only the embedding's padding lies between
  store.weights()[3]->gradient[0].fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(std::isnan(norm.compute()));
  store.weights()[3]->gradient[0].fill_(std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isinf(norm.compute()));
}

TEST(SumOfSquares, IsExactWhereFloatIsNot) {
  // 1 + 2^-12 squared needs 25 bits; the sum of a million of them needs more than fp32 has.
  const at::Tensor values = at::arange(1000003, at::kFloat).mul_(1.0 / 4096).add_(1.0);
  long double wide = 0;
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    const long double value = values.const_data_ptr<float>()[i];
    wide += value * value;
  }
  const auto expected = static_cast<double>(wide);
  const std::vector<Range> all{{0, values.numel()}};
  const double sum = sum_of_squares(values, all).item<double>();
  EXPECT_NEAR(sum / expected, 1, 1e-14);
  EXPECT_EQ(sum_of_squares(values, all).item<double>(), sum);
  const std::vector<Range> two{{0, 5}, {77, 80}};
  double few = 0;
  for (const int i : {0, 1, 2, 3, 4, 77, 78, 79}) {
    few += std::pow(static_cast<double>(values.const_data_ptr<float>()[i]), 2);
  }
  EXPECT_DOUBLE_EQ(sum_of_squares(values, two).item<double>(), few);
  EXPECT_EQ(sum_of_squares(values, {}).item<double>(), 0.0);
}

TEST(ClipFactor, IsPyTorchsDefinition) {
  EXPECT_DOUBLE_EQ(clip_factor(4.0, 1.0), 1.0 / 4.000001);
  EXPECT_DOUBLE_EQ(clip_factor(0.5, 1.0), 1.0);
  EXPECT_DOUBLE_EQ(clip_factor(0.0, 1.0), 1.0);
  EXPECT_DOUBLE_EQ(clip_factor(1.0, 1.0), 1.0 / 1.000001);
  EXPECT_DOUBLE_EQ(clip_factor(100.0, 0.0), 1.0);  // no clipping
  EXPECT_TRUE(std::isnan(clip_factor(std::numeric_limits<double>::quiet_NaN(), 1.0)));
}

}  // namespace
}  // namespace cuboid
