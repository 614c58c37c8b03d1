// The element-wise half of the feed-forward layer: GELU (tanh form, Hendrycks and Gimpel,
// arXiv:1606.08415) with the bias before it, and SwiGLU (Shazeer, arXiv:2002.05202); and gradients
// of biases. Tensors are contiguous; T is fp32, bf16 (computed in fp32, rounded once) or fp64.
#pragma once

#include <ATen/core/Tensor.h>

#include "cuboid/kernels/gradient_target.hpp"

namespace cuboid {

// inner [tokens, f] += bias [f] in place (bias may be undefined); returns gelu(inner).
at::Tensor bias_gelu(const at::Tensor& inner, const at::Tensor& bias);
// The gradient of inner, made in place of d_activated; its column sums go into `bias`.
at::Tensor gelu_backward(const at::Tensor& d_activated, const at::Tensor& inner,
                         const GradientTarget& bias);

// inner [tokens, 2 f], gate and up side by side -> silu(gate) * up [tokens, f]
at::Tensor swiglu(const at::Tensor& inner);
// d_activated [tokens, f], inner as in forward -> its gradient [tokens, 2 f]
at::Tensor swiglu_backward(const at::Tensor& d_activated, const at::Tensor& inner);

// x [tokens, n]: the sums over tokens, in an order that does not depend on the number of threads.
void add_column_sums(const at::Tensor& x, const GradientTarget& target);

namespace detail {

// The same in LibTorch's own operations (see norm.hpp).
at::Tensor bias_gelu_composed(const at::Tensor& inner, const at::Tensor& bias);
at::Tensor gelu_backward_composed(const at::Tensor& d_activated, const at::Tensor& inner,
                                  const GradientTarget& bias);
at::Tensor swiglu_composed(const at::Tensor& inner);
at::Tensor swiglu_backward_composed(const at::Tensor& d_activated, const at::Tensor& inner);
void add_column_sums_composed(const at::Tensor& x, const GradientTarget& target);

}  // namespace detail

}  // namespace cuboid
