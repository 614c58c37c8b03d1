// ranks: 1 2 4
#include "cuboid/optimizer/reducer.hpp"

#include <ATen/ops/add.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>
#include <mpi.h>

#include <algorithm>
#include <random>
#include <stdexcept>

#include "cuboid/collective/grid_communicators.hpp"

namespace cuboid {
namespace {

int world_size() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

// Layers of one matrix and one vector each between an embedding and a final vector, and the second
// gradient of the embedding. Sizes are odd on purpose.
void fill(WeightStore& store) {
  const auto part = [](const char* name, std::vector<std::int64_t> shape) {
    return std::vector<LogicalParameter>{{.name = name, .shape = std::move(shape)}};
  };
  Weight& embedding = store.add(part("embedding", {19, 5}));
  for (int layer = 0; layer < 4; ++layer) {
    store.add(part("vector", {5}));
    store.add(part("matrix", {5, 21}));
  }
  store.add(part("final", {5}));
  store.add_gradient_only(embedding);
  store.allocate(at::kFloat, at::kCPU, /*seed=*/1);
}

std::vector<Weight*> all_weights(WeightStore& store) {
  std::vector<Weight*> weights;
  for (const auto& weight : store.weights()) weights.push_back(weight.get());
  return weights;
}

// Whole numbers, so that sums are exact in any order: element i of rank r holds 10 i + r + step.
void set_gradients(WeightStore& store, int rank, int step) {
  for (const auto& weight : store.weights()) {
    at::Tensor flat = weight->gradient.view({-1});
    for (std::int64_t i = 0; i < flat.numel(); ++i) flat[i] = 10 * i + rank + step;
    weight->fresh = false;
  }
}

void expect_sums(const WeightStore& store, int ranks, int step) {
  for (const auto& weight : store.weights()) {
    const at::Tensor flat = weight->gradient.view({-1});
    for (std::int64_t i = 0; i < flat.numel(); ++i) {
      const auto expected = ranks * (10 * i + step) + ranks * (ranks - 1) / 2;
      ASSERT_EQ(flat[i].item<float>(), static_cast<float>(expected)) << "element " << i;
    }
  }
}

TEST(BucketedReducer, SumsInAnyOrderThatAllRanksShare) {
  const int ranks = world_size();
  const Grid grid(MPI_COMM_WORLD, {.dp = ranks, .tp = 1, .pp = 1});
  const GridCommunicators communicators = make_grid_communicators(grid, Backend::kMpi);
  for (const std::int64_t bucket_size : {1, 100, 250, 1000000}) {
    WeightStore store;
    fill(store);
    BucketedReducer reducer(store, *communicators.dp, bucket_size);
    std::vector<Weight*> order = all_weights(store);
    std::mt19937 random(3);
    for (int step = 0; step < 6; ++step) {
      if (step == 1) std::reverse(order.begin(), order.end());
      if (step > 1) std::shuffle(order.begin(), order.end(), random);
      set_gradients(store, communicators.dp->rank(), step);
      for (const Weight* weight : order) reducer.add(*weight);
      reducer.finish();
      expect_sums(store, ranks, step);
    }
  }
}

// A group of one that records what is started, polled and waited for.
struct Record {
  std::vector<ConstBuffer> started;
  int polls = 0;
  int waits = 0;
};

class RecordedWork : public Work {
 public:
  explicit RecordedWork(Record& record) : record_(record) {}
  void wait() override { ++record_.waits; }
  bool poll() override {
    ++record_.polls;
    return false;
  }

 private:
  Record& record_;
};

class RecordingCommunicator : public Communicator {
 public:
  RecordingCommunicator() : Communicator(0, 1, "recording") {}
  PendingWork start_all_reduce(Buffer inout, ReduceOp op) override {
    EXPECT_EQ(op, ReduceOp::kSum);
    record.started.push_back(inout);
    return std::make_unique<RecordedWork>(record);
  }
  PendingWork start_all_gather(ConstBuffer, Buffer, std::span<const std::int64_t>) override {
    throw std::logic_error("not used");
  }
  PendingWork start_reduce_scatter(ConstBuffer, Buffer, ReduceOp,
                                   std::span<const std::int64_t>) override {
    throw std::logic_error("not used");
  }
  PendingWork start_broadcast(Buffer, int) override { throw std::logic_error("not used"); }
  PendingWork start_exchange(std::span<const Transfer>) override {
    throw std::logic_error("not used");
  }
  void barrier() override {}

  Record record;
};

TEST(BucketedReducer, StartsABucketWithItsLastWeightAndPollsBeforeFinish) {
  WeightStore store;
  fill(store);
  RecordingCommunicator dp;
  BucketedReducer reducer(store, dp, /*bucket_size=*/200);
  // Matrices of 105 and an embedding of 95, from the end: {m3, m2}, {m1, m0}, {embedding}; then the
  // vectors; then the second gradient.
  ASSERT_EQ(reducer.buckets().size(), 5U);
  set_gradients(store, 0, 0);
  const auto weight = [&](std::size_t i) -> const Weight& { return *store.weights()[i]; };
  const std::vector<std::pair<std::size_t, std::size_t>> backward{
      // weight, all-reduces under way once it was added
      {10, 1}, {9, 1}, {8, 1}, {7, 1}, {6, 2}, {5, 2}, {4, 2}, {3, 2}, {2, 3}, {1, 4}, {0, 5}};
  for (const auto& [index, started] : backward) {
    reducer.add(weight(index));
    EXPECT_EQ(reducer.num_started(), started) << "after weight " << index;
    EXPECT_EQ(dp.record.started.size(), started);
  }
  EXPECT_GE(dp.record.polls, 10);
  EXPECT_EQ(dp.record.waits, 0);
  reducer.finish();
  EXPECT_EQ(dp.record.waits, 5);
  EXPECT_EQ(reducer.num_started(), 0U);
}

TEST(BucketedReducer, BucketsCoverEveryWeightOnce) {
  WeightStore store;
  fill(store);
  for (const std::int64_t bucket_size : {1, 7, 100, 1000000}) {
    RecordingCommunicator dp;
    const BucketedReducer reducer(store, dp, bucket_size);
    for (const auto& weight : store.weights()) {
      const auto holds = [&](const Range& range) {
        return range.begin <= weight->offset && weight->offset + weight->count() <= range.end;
      };
      EXPECT_EQ(std::count_if(reducer.buckets().begin(), reducer.buckets().end(), holds), 1);
    }
    std::vector<Range> sorted = reducer.buckets();
    std::sort(sorted.begin(), sorted.end(),
              [](const Range& a, const Range& b) { return a.begin < b.begin; });
    for (std::size_t i = 1; i < sorted.size(); ++i) EXPECT_GE(sorted[i].begin, sorted[i - 1].end);
  }
}

TEST(BucketedReducer, RefusesMisuse) {
  WeightStore store;
  WeightStore other;
  fill(store);
  fill(other);
  RecordingCommunicator dp;
  BucketedReducer reducer(store, dp, 100);
  EXPECT_THROW(reducer.add(*store.weights()[0]), std::logic_error);  // no gradient yet
  set_gradients(store, 0, 0);
  set_gradients(other, 0, 0);
  reducer.add(*store.weights()[0]);
  EXPECT_THROW(reducer.add(*store.weights()[0]), std::logic_error);
  EXPECT_THROW(reducer.add(*other.weights()[1]), std::logic_error);
  EXPECT_THROW(reducer.finish(), std::logic_error);
}

// Fractions whose sum is rounded: one stage and two ends must round alike.
at::Tensor gradient_of(const Weight& like, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  at::Tensor values = like.gradient.clone();
  for (std::int64_t i = 0; i < values.numel(); ++i) values.view({-1})[i] = normal(random);
  return values;
}

TEST(TiedGradient, OneStageAndTwoEndsGiveTheSameBits) {
  const int ranks = world_size();
  const Grid grid(MPI_COMM_WORLD, {.dp = 1, .tp = 1, .pp = ranks});
  const GridCommunicators communicators = make_grid_communicators(grid, Backend::kMpi);
  WeightStore store;
  fill(store);
  Weight& embedding = *store.weights().front();
  Weight& second = *store.weights().back();
  const at::Tensor input = gradient_of(embedding, 1);
  const at::Tensor output = gradient_of(embedding, 2);
  const at::Tensor expected = at::add(input, output);
  if (ranks == 1) {
    embedding.gradient.copy_(input);
    second.gradient.copy_(output);
    finish_tied_gradient(embedding, &second, *communicators.ends);
    EXPECT_TRUE(at::equal(embedding.gradient, expected));
    finish_tied_gradient(embedding, nullptr, *communicators.ends);  // an untied model: no change
    EXPECT_TRUE(at::equal(embedding.gradient, expected));
  } else if (grid.is_first_stage() || grid.is_last_stage()) {
    embedding.gradient.copy_(grid.is_first_stage() ? input : output);
    finish_tied_gradient(embedding, nullptr, *communicators.ends);
    EXPECT_TRUE(at::equal(embedding.gradient, expected));
    EXPECT_THROW(finish_tied_gradient(embedding, &second, *communicators.ends), std::logic_error);
  }
}

}  // namespace
}  // namespace cuboid
