// ranks: 1 2
// timeout: 300
// Steps that are replayed from a CUDA graph against eager ones, bit for bit; and the attention
// kernels against each other. `make gpu-check` runs this.
#include <ATen/ops/equal.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAGuard.h>
#include <gtest/gtest.h>
#include <nccl.h>

#include <cstdlib>

#include "cuboid/base/error.hpp"
#include "cuboid/launch/device.hpp"
#include "cuboid/trainer/compute_stream.hpp"
#include "trainer/harness.hpp"

namespace cuboid {
namespace {

class GraphOnGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no CUDA device";
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    int version = 0;
    ncclGetVersion(&version);
    const bool may_share =
        version >= NCCL_VERSION(2, 30, 0) && std::getenv("NCCL_MULTI_RANK_GPU_ENABLE") != nullptr;
    if (size_ > cuda_device_count() && !may_share)
      GTEST_SKIP() << "ranks share a GPU, which this NCCL does not allow";
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    options_.device =
        at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(use_cuda_device(rank).index));
    options_.stream = use_own_stream(options_.device);
    options_.backend = Backend::kNccl;
    options_.steps = 8;
    options_.said = &said_;
  }

  test::RunResult run(std::optional<bool> graph) {
    options_.cuda_graph = graph;
    said_.clear();
    return test::train(MPI_COMM_WORLD, options_);
  }

  // Eight steps both ways: what replays do must be what eager steps do.
  void compare(const ModelConfig& model, at::ScalarType dtype) {
    options_.model = model;
    options_.dtype = dtype;
    const std::vector<GridShape> shapes =
        size_ == 1 ? std::vector<GridShape>{{1, 1, 1}}
                   : std::vector<GridShape>{{size_, 1, 1}, {1, size_, 1}};
    for (const GridShape& shape : shapes) {
      SCOPED_TRACE(to_string(shape));
      options_.shape = shape;
      const test::RunResult eager = run(false);
      const test::RunResult replayed = run(true);
      EXPECT_EQ(replayed.losses, eager.losses);
      EXPECT_EQ(replayed.grad_norms, eager.grad_norms);
      for (const auto& [name, value] : eager.final)
        EXPECT_TRUE(at::equal(replayed.final.at(name), value)) << name;
      EXPECT_NE(eager.losses.front(), eager.losses.back()) << "otherwise this proves nothing";
    }
  }

  c10::InferenceMode no_autograd_;
  int size_ = 1;
  test::RunOptions options_;
  std::vector<std::string> said_;
};

TEST_F(GraphOnGpu, Gpt2IsTheSameToTheLastBit) {
  compare(test::tiny_gpt2(), at::kFloat);
}
TEST_F(GraphOnGpu, LlamaInBf16IsTheSameToTheLastBit) {
  compare(test::tiny_llama(), at::kBFloat16);
}
TEST_F(GraphOnGpu, EveryReplayDropsItsOwnElements) {
  ModelConfig model = test::tiny_gpt2();
  model.dropout = 0.2;
  compare(model, at::kBFloat16);
}

TEST_F(GraphOnGpu, SeveralMicroBatchesAndFlashAttention) {
  ModelConfig model = test::tiny_gpt2();
  model.hidden_size = 128;  // heads of 32, which flash takes, and keys for several blocks
  model.seq_length = 512;
  options_.attention = AttentionKernel::kFlash;
  options_.global_batch_size = 4;
  compare(model, at::kBFloat16);
}

TEST_F(GraphOnGpu, AutoCapturesAndSaysSo) {
  options_.model = test::tiny_gpt2();
  options_.shape = {size_, 1, 1};
  (void)run(std::nullopt);
  ASSERT_EQ(said_.size(), 1U) << "no second line that says why not";
  EXPECT_NE(said_[0].find("are captured"), std::string::npos) << said_[0];
}

TEST_F(GraphOnGpu, OnTheDefaultStreamThereIsNone) {
  options_.model = test::tiny_gpt2();
  options_.shape = {size_, 1, 1};
  const c10::cuda::CUDAStreamGuard on_default(
      c10::cuda::getDefaultCUDAStream(options_.device.index()));
  options_.stream = nullptr;
  (void)run(std::nullopt);
  ASSERT_EQ(said_.size(), 1U);
  EXPECT_NE(said_[0].find("default stream"), std::string::npos) << said_[0];
  EXPECT_THROW((void)run(true), UsageError);
}

TEST_F(GraphOnGpu, AttentionKernelsAgree) {
  options_.model = test::tiny_llama();
  options_.model.hidden_size = 128;  // heads of 16 that share keys
  options_.model.seq_length = 64;
  options_.dtype = at::kBFloat16;
  options_.shape = {1, size_, 1};
  std::vector<std::vector<double>> losses;
  for (const auto kernel :
       {AttentionKernel::kEfficient, AttentionKernel::kFlash, AttentionKernel::kCudnn}) {
    options_.attention = kernel;
    losses.push_back(run(std::nullopt).losses);
    for (std::size_t i = 0; i < losses.front().size(); ++i)
      EXPECT_NEAR(losses.back()[i], losses.front()[i], 1e-2 * losses.front()[i]) << i;
  }
}

}  // namespace
}  // namespace cuboid
