// Tensor-parallel linear layers, y = x W^T + b with W [out, in], after Shoeybi et al.,
// "Megatron-LM", arXiv:1909.08053, section 3.
//
// ColumnParallelLinear: W split along out. Forward: nothing to send. Backward: all-reduce of dx.
//
// RowParallelLinear: W split along in. Forward: all-reduce of y. Backward: nothing to send.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <string>
#include <vector>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/config/config.hpp"
#include "cuboid/model/weight.hpp"

namespace cuboid {

// Standard deviation of the matrices that write into the residual stream: init_std / sqrt(2 L), so
// that the stream's variance does not grow with depth (Radford et al., GPT-2, section 2.3).
double residual_init_std(const ModelConfig& model);

// One logical [out_features, in_features] matrix (and its bias) of a linear layer.
struct LinearPart {
  std::string name;  // "layers.0.attention.query"; ".weight" and ".bias" are appended
  std::int64_t out_features;
  Range shard;  // this rank's outputs
};

// Who adds the bias and makes its gradient: the layer, or its caller in a pass of its own.
enum class BiasBy : unsigned char { kLayer, kCaller };

// Several logical matrices with the same input, computed by one product: outputs side by side.
class ColumnParallelLinear {
 public:
  ColumnParallelLinear(WeightStore& store, Communicator& tp, std::span<const LinearPart> parts,
                       std::int64_t in_features, bool bias, double init_std,
                       BiasBy bias_by = BiasBy::kLayer);

  // x [tokens, in] -> [tokens, this rank's outputs of all parts]
  [[nodiscard]] at::Tensor forward(const at::Tensor& x) const;
  // dy [tokens, local out], x as in forward -> dx [tokens, in], summed over TP. The all-reduce is
  // started before the weight gradient is computed: over NCCL it runs meanwhile; on hosts, where
  // adding up is this rank's own work, that hides the waiting for slower ranks. dx is to be used up
  // at once: see empty_to_reduce.
  [[nodiscard]] at::Tensor backward(const at::Tensor& dy, const at::Tensor& x);
  // Null without a bias.
  [[nodiscard]] Weight* bias() const { return bias_; }

 private:
  Communicator& tp_;
  Weight* weight_;
  Weight* bias_ = nullptr;
  BiasBy bias_by_;
};

// Its bias is the caller's to add, and to make the gradient of: it is added to the residual stream
// with the result.
class RowParallelLinear {
 public:
  // `shard`: this rank's inputs of in_features.
  RowParallelLinear(WeightStore& store, Communicator& tp, const std::string& name,
                    std::int64_t out_features, std::int64_t in_features, Range shard, bool bias,
                    double init_std);

  // x [tokens, local in] -> [tokens, out], summed over TP, without bias; to be used up at once
  [[nodiscard]] at::Tensor forward(const at::Tensor& x) const;
  // dy [tokens, out] (the same on all TP ranks), x as in forward -> dx [tokens, local in]
  [[nodiscard]] at::Tensor backward(const at::Tensor& dy, const at::Tensor& x);
  // [out], the same on all TP ranks; null without a bias.
  [[nodiscard]] Weight* bias() const { return bias_; }

 private:
  Communicator& tp_;
  Weight* weight_;
  Weight* bias_ = nullptr;
};

}  // namespace cuboid
