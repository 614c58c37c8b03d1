#include "cuboid/config/attention_kernel.hpp"

#include "cuboid/config/option.hpp"

namespace cuboid {

bool takes(AttentionKernel kernel, Precision dtype, std::int64_t head_dim) {
  constexpr std::int64_t kFlashMost = 256;
  constexpr std::int64_t kCudnnMost = 128;  // more depends on the GPU
  const bool is_fast_shape = dtype == Precision::kBFloat16 && head_dim % 8 == 0;
  switch (kernel) {
    case AttentionKernel::kAuto: return false;
    case AttentionKernel::kFlash: return is_fast_shape && head_dim <= kFlashMost;
    case AttentionKernel::kCudnn: return is_fast_shape && head_dim <= kCudnnMost;
    case AttentionKernel::kEfficient: return true;
  }
  return false;
}

AttentionKernel usable_kernel(std::string_view value, Precision dtype, std::int64_t head_dim) {
  Config config;
  const bool is_legal = find_option("attention-kernel")->set(config, value);
  const AttentionKernel kernel = config.runtime.attention_kernel;
  return is_legal && takes(kernel, dtype, head_dim) ? kernel : AttentionKernel::kAuto;
}

std::vector<AttentionKernel> attention_candidates(Precision dtype, std::int64_t head_dim) {
  std::vector<AttentionKernel> kernels;
  for (const auto kernel : {AttentionKernel::kFlash, AttentionKernel::kCudnn})
    if (takes(kernel, dtype, head_dim)) kernels.push_back(kernel);
  if (kernels.empty()) kernels.push_back(AttentionKernel::kEfficient);
  return kernels;
}

}  // namespace cuboid
