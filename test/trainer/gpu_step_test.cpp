// ranks: 1
// timeout: 200
// What a step on a GPU costs beside its kernels: the host waits for the device once, and no memory
// is asked of the driver after the second step.
#include <ATen/ops/ones.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <atomic>

#include "cuboid/launch/device.hpp"
#include "cuboid/trainer/compute_stream.hpp"
#include "cuboid/trainer/host_copy.hpp"
#include "trainer/harness.hpp"

namespace {

std::atomic<int> num_waits{0};

template <typename Function>
Function real(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

// The dynamic linker finds these before the CUDA runtime's, for LibTorch's calls as well.
extern "C" {
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  static const auto call = real<decltype(&cudaStreamSynchronize)>("cudaStreamSynchronize");
  ++num_waits;
  return call(stream);
}
cudaError_t cudaDeviceSynchronize() {
  static const auto call = real<decltype(&cudaDeviceSynchronize)>("cudaDeviceSynchronize");
  ++num_waits;
  return call();
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  static const auto call = real<decltype(&cudaEventSynchronize)>("cudaEventSynchronize");
  ++num_waits;
  return call(event);
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  using Call = cudaError_t (*)(void*, const void*, std::size_t, cudaMemcpyKind);
  static const auto call = real<Call>("cudaMemcpy");
  ++num_waits;
  return call(to, from, bytes, kind);
}
}

namespace cuboid {
namespace {

class StepOnGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no CUDA device";
    use_cuda_device(0);
  }

  static std::int64_t num_allocations() {
    return c10::cuda::CUDACachingAllocator::getDeviceStats(0).num_device_alloc;
  }

  // After two steps to warm up (the second one is captured, where steps are), each of the next
  // waits once and allocates nothing.
  static void check(const ModelConfig& model, at::ScalarType dtype, bool graph) {
    const c10::InferenceMode no_autograd;
    const at::Device device(at::kCUDA, 0);
    const test::RunOptions options{.model = model,
                                   .shape = {1, 1, 1},
                                   .micro_batch_size = 2,
                                   .dtype = dtype,
                                   .device = device,
                                   .backend = Backend::kNccl,
                                   .cuda_graph = graph,
                                   .stream = use_own_stream(device)};
    const Config config = test::make_config(options);
    const Grid grid(MPI_COMM_SELF, options.shape);
    GridCommunicators communicators =
        make_grid_communicators(grid, options.backend, options.stream);
    Stage stage(config.model, stage_place(config.model, 1, 0), *communicators.tp,
                {.dtype = dtype,
                 .device = options.device,
                 .seed = 1,
                 .micro_batch_size = options.micro_batch_size,
                 .dp = communicators.dp.get()});
    TrainStep step(config, grid, communicators, stage);
    for (std::int64_t i = 0; i < 6; ++i) {
      const Batch batch = test::make_batch(config, options.shape, 0, i);
      const std::int64_t allocations = num_allocations();
      num_waits = 0;
      (void)step.run(batch, i);
      if (i < 2) continue;
      EXPECT_EQ(num_waits, 1) << "step " << i;
      EXPECT_EQ(num_allocations(), allocations) << "step " << i;
    }
  }
};

// What --save-async copies into.
TEST_F(StepOnGpu, ACopyOnTheHostHasLockedPages) {
  const at::Tensor x = at::ones({1 << 20}, at::TensorOptions(at::kFloat).device(at::kCUDA, 0));
  const at::Tensor copy = host_copy_of(x, x.numel());
  cudaPointerAttributes attributes{};
  ASSERT_EQ(cudaPointerGetAttributes(&attributes, copy.data_ptr()), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeHost);
  copy.copy_(x);
  EXPECT_EQ(copy.sum().item<float>(), static_cast<float>(x.numel()));
}

TEST_F(StepOnGpu, WaitsAreSeen) {
  const at::Tensor x = at::ones({4}, at::TensorOptions(at::kFloat).device(at::kCUDA, 0));
  num_waits = 0;
  (void)x.cpu();
  EXPECT_EQ(num_waits, 1) << "otherwise the other tests prove nothing";
}
TEST_F(StepOnGpu, Gpt2WaitsOnceAndAllocatesNothing) {
  check(test::tiny_gpt2(), at::kBFloat16, /*graph=*/false);
}
TEST_F(StepOnGpu, LlamaWaitsOnceAndAllocatesNothing) {
  check(test::tiny_llama(), at::kBFloat16, /*graph=*/false);
}
TEST_F(StepOnGpu, AReplayedStepWaitsOnceAndAllocatesNothing) {
  check(test::tiny_gpt2(), at::kBFloat16, /*graph=*/true);
  check(test::tiny_llama(), at::kBFloat16, /*graph=*/true);
}

}  // namespace
}  // namespace cuboid
