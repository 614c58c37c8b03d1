// One transformer block, pre-norm: y = x + attention(norm(x)); z = y + mlp(norm(y)).
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "cuboid/model/attention.hpp"
#include "cuboid/model/dropout.hpp"
#include "cuboid/model/mlp.hpp"
#include "cuboid/model/norm.hpp"
#include "cuboid/model/residual.hpp"

namespace cuboid {

class Block {
 public:
  // What the backward pass of one micro-batch needs.
  struct Saved {
    Norm::Saved attention_norm, mlp_norm;   // with x and y
    at::Tensor attention_input, mlp_input;  // after each norm
    SelfAttention::Saved attention;
    Mlp::Saved mlp;
  };

  // `layer` counts over the whole model, for names and dropout masks; `rotary` is make_rotary's.
  Block(WeightStore& store, Communicator& tp, const ModelConfig& model, std::int64_t layer,
        std::shared_ptr<const Rotary> rotary, AttentionKernel attention = AttentionKernel::kAuto);

  // x [tokens, hidden] -> the same shape, to be added up by the next norm. `dropout` names the
  // masks (its site is set here); the probability 0 turns dropout off (evaluation).
  [[nodiscard]] Residual forward(const Residual& x, double dropout, DropoutKey key,
                                 Saved& saved) const;
  // The weight whose gradient is the column sums of dz: who makes dz adds them to it.
  [[nodiscard]] Weight* pending_bias(double dropout) const;
  // dz of the result (used up) -> that of x, whose column sums go into `previous`, the pending bias
  // of the block before (may be null).
  [[nodiscard]] at::Tensor backward(const at::Tensor& dz, double dropout, DropoutKey key,
                                    Saved saved, Weight* previous);

 private:
  [[nodiscard]] Residual add_later(const at::Tensor& stream, at::Tensor delta, const Weight* bias,
                                   double dropout, const DropoutKey& key) const;

  Communicator& tp_;
  std::int64_t seq_length_;
  std::uint32_t attention_site_, mlp_site_;
  Norm attention_norm_;
  SelfAttention attention_;
  Norm mlp_norm_;
  Mlp mlp_;
};

}  // namespace cuboid
