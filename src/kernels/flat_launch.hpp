// Launching the GPU's kernels over flat buffers (flat.cu): AdamW and sums of squares. Free of
// LibTorch, so that nvcc reads it.
#pragma once

#include <cstdint>

namespace cuboid::detail {

// Asynchronous on `stream` (a cudaStream_t); throw SystemError.

// One update of `count` elements, the first `num_decaying` of them with weight decay.
struct AdamWLaunch {
  std::int64_t count, num_decaying;
  float *master, *exp_avg, *exp_avg_sq;
  const float* gradient;
  void* values;  // bf16: master, rounded; null where there are none
  float gradient_scale, beta1, beta2, epsilon;
  float decay;             // 1 - learning rate * weight decay
  float step_size;         // learning rate / (1 - beta1^t)
  float root_correction2;  // sqrt(1 - beta2^t)
};
void launch_adamw(const AdamWLaunch& launch, void* stream);

// Parts of a flat buffer, as many as one launch takes.
struct RangesLaunch {
  static constexpr int kMaxRanges = 64;
  // Elements that one block of threads adds up: fixed, so that sums are the same on every device.
  static constexpr std::int64_t kBlock = 32768;
  int num_ranges = 0;
  std::int64_t begin[kMaxRanges], end[kMaxRanges];
  std::int64_t first_block[kMaxRanges + 1] = {};  // where each range's partial sums begin
  const float* flat = nullptr;
  double* partial = nullptr;  // [num_blocks()]

  // False where there is no room.
  bool add(std::int64_t from, std::int64_t to) {
    if (num_ranges == kMaxRanges) return false;
    begin[num_ranges] = from;
    end[num_ranges] = to;
    first_block[num_ranges + 1] = first_block[num_ranges] + (to - from + kBlock - 1) / kBlock;
    ++num_ranges;
    return true;
  }
  std::int64_t num_blocks() const { return first_block[num_ranges]; }
};
// partial[b] = sum of the squares of block b's elements, in fp64.
void launch_squares(const RangesLaunch& launch, void* stream);
// total[0] = the sum of `count` numbers.
void launch_total(const double* partial, std::int64_t count, double* total, void* stream);

}  // namespace cuboid::detail
