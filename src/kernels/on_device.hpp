// The functions of cuboid/kernels on a GPU: memory from LibTorch, then the CUDA kernels on the
// current stream. Nothing waits for the device. What the kernels do not take (fp64, rows that are
// too wide) goes to LibTorch's own operations.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAStream.h>

#include "cuboid/base/dtype.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/kernels/activation.hpp"
#include "cuboid/kernels/adamw.hpp"
#include "cuboid/kernels/cross_entropy.hpp"
#include "cuboid/kernels/embedding.hpp"
#include "cuboid/kernels/norm.hpp"

namespace cuboid::detail {

AddNorm add_norm_on_device(const at::Tensor& residual, const at::Tensor& delta,
                           const at::Tensor& delta_bias, const NormParameters& parameters,
                           SumMemory memory);
at::Tensor add_norm_backward_on_device(const at::Tensor& dy, const at::Tensor& sum,
                                       const NormStatistics& statistics,
                                       const NormParameters& parameters,
                                       const at::Tensor& d_residual, const GradientTarget& weight,
                                       const GradientTarget& bias,
                                       const GradientTarget& delta_bias);

at::Tensor bias_gelu_on_device(const at::Tensor& inner, const at::Tensor& bias);
at::Tensor gelu_backward_on_device(const at::Tensor& d_activated, const at::Tensor& inner,
                                   const GradientTarget& bias);
at::Tensor swiglu_on_device(const at::Tensor& inner);
at::Tensor swiglu_backward_on_device(const at::Tensor& d_activated, const at::Tensor& inner);
void add_column_sums_on_device(const at::Tensor& x, const GradientTarget& target);
// False where the kernel takes neither these types nor these strides, and nothing was done.
bool rotate_on_device_(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                       bool forwards);

RowSums cross_entropy_rows_on_device(const at::Tensor& logits, const at::Tensor& targets,
                                     std::int64_t first_row, std::int64_t num_rows);
void cross_entropy_gradient_on_device_(const at::Tensor& logits, const at::Tensor& targets,
                                       const at::Tensor& maximum, const at::Tensor& sum,
                                       std::int64_t first_row, std::int64_t num_rows, double scale);
at::Tensor cross_entropy_on_device_(const at::Tensor& logits, const at::Tensor& targets,
                                    std::int64_t num_rows, double scale);
at::Tensor embed_on_device(const at::Tensor& tokens, const at::Tensor& table,
                           std::int64_t first_row, std::int64_t num_rows,
                           const at::Tensor& positions);
void add_rows_on_device_(const at::Tensor& gradient, const at::Tensor& dy, const at::Tensor& tokens,
                         std::int64_t first_row, std::int64_t num_rows);
void add_positions_on_device(const at::Tensor& dy, const GradientTarget& target);

void adamw_on_device_(const AdamWTensors& tensors, std::int64_t num_decaying,
                      const AdamWFactors& factors);

// ---- For their implementations

inline bool has_kernels(const at::Tensor& x) {
  return x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16;
}
inline DType kernel_type(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 ? DType::kBFloat16 : DType::kFloat32;
}
inline void* stream_of(const at::Tensor& x) {
  return c10::cuda::getCurrentCUDAStream(x.get_device()).stream();
}
// Null for an undefined tensor.
template <typename T = void>
T* pointer(const at::Tensor& x) {
  if (!x.defined()) return nullptr;
  require(x.is_contiguous(), "a kernel's tensors are contiguous");
  return static_cast<T*>(x.mutable_data_ptr());
}

}  // namespace cuboid::detail
