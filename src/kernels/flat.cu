// AdamW and sums of squares, over flat buffers: one read and one write of what there is.
#include "device.hpp"
#include "flat_launch.hpp"

namespace cuboid::detail {
namespace {

using namespace device;

constexpr int kFlatThreads = 256;

// One element's update, as PyTorch's fused AdamW has it.
__device__ void update(const AdamWLaunch& a, float& theta, float& m, float& v, float gradient,
                       bool decays) {
  gradient *= a.gradient_scale;
  if (decays) theta *= a.decay;
  m += (1.0F - a.beta1) * (gradient - m);
  v = a.beta2 * v + (1.0F - a.beta2) * gradient * gradient;
  theta -= a.step_size * m / (sqrtf(v) / a.root_correction2 + a.epsilon);
}

// N is 4: vectors of all fp32 buffers, and half a vector of bf16; or 1.
template <int N>
__global__ void __launch_bounds__(kFlatThreads) adamw(AdamWLaunch a) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kFlatThreads * N;
  for (std::int64_t at = (static_cast<std::int64_t>(blockIdx.x) * kFlatThreads + threadIdx.x) * N;
       at < a.count; at += step) {
    float theta[N];
    float m[N];
    float v[N];
    float gradient[N];
    load(theta, a.master + at);
    load(gradient, a.gradient + at);
    load(m, a.exp_avg + at);
    load(v, a.exp_avg_sq + at);
#pragma unroll
    for (int i = 0; i < N; ++i)
      update(a, theta[i], m[i], v[i], gradient[i], at + i < a.num_decaying);
    store(a.master + at, theta);
    store(a.exp_avg + at, m);
    store(a.exp_avg_sq + at, v);
    if (a.values == nullptr) continue;
    Bf16* values = static_cast<Bf16*>(a.values) + at;
    if constexpr (N == 1) {
      *values = narrow<Bf16>(theta[0]);
    } else {
      Bf16 rounded[N];
#pragma unroll
      for (int i = 0; i < N; ++i) rounded[i] = narrow<Bf16>(theta[i]);
      int2 bits;
      static_assert(sizeof(bits) == sizeof(rounded));
      memcpy(&bits, static_cast<const void*>(rounded), sizeof(bits));
      *reinterpret_cast<int2*>(values) = bits;
    }
  }
}

// The threads' numbers, added up in a fixed order; thread 0 has the sum.
__device__ double block_sum(double x) {
  __shared__ double of_warp[kFlatThreads / kWarp];
  x = warp_sum(x);
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = x;
  __syncthreads();
  if (threadIdx.x != 0) return 0.0;
  for (int warp = 1; warp < kFlatThreads / kWarp; ++warp) x += of_warp[warp];
  return x;
}

__global__ void __launch_bounds__(kFlatThreads) squares(RangesLaunch a) {
  int range = 0;
  while (a.first_block[range + 1] <= blockIdx.x) ++range;
  const std::int64_t first =
      a.begin[range] + (blockIdx.x - a.first_block[range]) * RangesLaunch::kBlock;
  const std::int64_t left = a.end[range] - first;
  const auto count = static_cast<int>(left < RangesLaunch::kBlock ? left : RangesLaunch::kBlock);
  const float* values = a.flat + first;
  const bool aligned = reinterpret_cast<std::uintptr_t>(values) % 16 == 0;
  double sum = 0.0;
  int done = 0;
  if (aligned) {
    done = count / 4 * 4;
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x) * 4; i < done; i += kFlatThreads * 4) {
      float x[4];
      load(x, values + i);
#pragma unroll
      for (const float value : x) sum += static_cast<double>(value) * static_cast<double>(value);
    }
  }
  for (int i = done + static_cast<int>(threadIdx.x); i < count; i += kFlatThreads)
    sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) a.partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kFlatThreads)
    add_up(const double* partial, std::int64_t count, double* total) {
  double sum = 0.0;
  for (std::int64_t i = threadIdx.x; i < count; i += kFlatThreads) sum += partial[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *total = sum;
}

}  // namespace

void launch_adamw(const AdamWLaunch& a, void* stream) {
  constexpr std::int64_t kMaxBlocks = 8448;  // 64 for each of an H100's processors
  // A tail of fewer than four elements would need a second path: flat buffers have none.
  const bool vectors =
      has_vectors<float>(a.count, a.master, a.exp_avg, a.exp_avg_sq, a.gradient, a.values);
  const std::int64_t blocks = divide_up<std::int64_t>(a.count, kFlatThreads * (vectors ? 4 : 1));
  const auto grid = static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks);
  launch("adamw", vectors ? adamw<4> : adamw<1>, {grid}, {kFlatThreads}, stream, a);
}

void launch_squares(const RangesLaunch& a, void* stream) {
  launch("squares", squares, {static_cast<unsigned>(a.num_blocks())}, {kFlatThreads}, stream, a);
}

void launch_total(const double* partial, std::int64_t count, double* total, void* stream) {
  launch("add_up", add_up, {1}, {kFlatThreads}, stream, partial, count, total);
}

}  // namespace cuboid::detail
