// ranks: 1 2
// timeout: 300
// Training on GPUs against the losses of CPUs, in fp32 and bf16, over NCCL and over MPI. `make
// gpu-check` runs this at eight ranks as well.
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>
#include <nccl.h>

#include <cstdlib>

#include "cuboid/launch/device.hpp"
#include "trainer/harness.hpp"

namespace cuboid {
namespace {

int world_size() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

// Grids that this many ranks make.
std::vector<GridShape> shapes() {
  switch (world_size()) {
    case 1: return {{1, 1, 1}};
    case 2: return {{2, 1, 1}, {1, 2, 1}, {1, 1, 2}};
    default: return {{world_size() / 4, 2, 2}};
  }
}

// NCCL below 2.30 refuses ranks that share a GPU; later ones want to be told.
bool nccl_can_run() {
  int version = 0;
  ncclGetVersion(&version);
  const bool may_share =
      version >= NCCL_VERSION(2, 30, 0) && std::getenv("NCCL_MULTI_RANK_GPU_ENABLE") != nullptr;
  return world_size() <= cuda_device_count() || may_share;
}

class OnGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no CUDA device";
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    const CudaDevice device = use_cuda_device(rank);
    device_ = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device.index));
  }

  // Ten steps here and on the CPU of one rank.
  void compare(test::RunOptions options, at::ScalarType dtype, Backend backend,
               double tolerance) const {
    options.steps = 10;
    const test::RunResult reference = test::train(MPI_COMM_SELF, options);
    options.dtype = dtype;
    options.device = device_;
    options.backend = backend;
    for (const GridShape& shape : shapes()) {
      SCOPED_TRACE(to_string(shape));
      options.shape = shape;
      if (has_one_micro_batch_) options.micro_batch_size = options.global_batch_size / shape.dp;
      const test::RunResult run = test::train(MPI_COMM_WORLD, options);
      for (std::size_t i = 0; i < run.losses.size(); ++i) {
        EXPECT_NEAR(run.losses[i], reference.losses[i], tolerance * reference.losses[i]) << i;
      }
    }
  }

  c10::InferenceMode no_autograd_;
  at::Device device_ = at::kCPU;
  bool has_one_micro_batch_ = false;
  // The CPU computes in fp32; GPUs sum in another order, and TF32 is off by default.
  static constexpr double kFp32 = 1e-5;
  // bf16 keeps 8 bits: 2^-9 an operation, averaged over many tokens and a few layers.
  static constexpr double kBf16 = 1e-2;
};

test::RunOptions gpt2() {
  return {.model = test::tiny_gpt2()};
}
test::RunOptions llama() {
  return {.model = test::tiny_llama()};
}

TEST_F(OnGpu, Gpt2OverMpi) {
  compare(gpt2(), at::kFloat, Backend::kMpi, kFp32);
}
TEST_F(OnGpu, LlamaOverMpi) {
  compare(llama(), at::kFloat, Backend::kMpi, kFp32);
}
TEST_F(OnGpu, Gpt2InBf16OverMpi) {
  compare(gpt2(), at::kBFloat16, Backend::kMpi, kBf16);
}
TEST_F(OnGpu, LlamaInBf16OverMpi) {
  compare(llama(), at::kBFloat16, Backend::kMpi, kBf16);
}

TEST_F(OnGpu, DropoutDropsTheSameElements) {
  test::RunOptions options = gpt2();
  options.model.dropout = 0.2;
  compare(options, at::kFloat, Backend::kMpi, kFp32);
}

TEST_F(OnGpu, Gpt2OverNccl) {
  if (!nccl_can_run()) GTEST_SKIP() << "ranks share a GPU, which this NCCL does not allow";
  compare(gpt2(), at::kFloat, Backend::kNccl, kFp32);
}
// The default of pretrain: one micro-batch, whose gradient answers the only activation sent.
TEST_F(OnGpu, OneMicroBatchOverNccl) {
  if (!nccl_can_run()) GTEST_SKIP() << "ranks share a GPU, which this NCCL does not allow";
  has_one_micro_batch_ = true;
  compare(gpt2(), at::kFloat, Backend::kNccl, kFp32);
}
TEST_F(OnGpu, LlamaInBf16OverNccl) {
  if (!nccl_can_run()) GTEST_SKIP() << "ranks share a GPU, which this NCCL does not allow";
  compare(llama(), at::kBFloat16, Backend::kNccl, kBf16);
}

}  // namespace
}  // namespace cuboid
