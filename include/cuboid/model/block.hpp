// One transformer block, pre-norm: y = x + attention(norm(x)); z = y + mlp(norm(y)).
#pragma once

#include <ATen/core/Tensor.h>

#include "cuboid/model/attention.hpp"
#include "cuboid/model/dropout.hpp"
#include "cuboid/model/mlp.hpp"
#include "cuboid/model/norm.hpp"

namespace cuboid {

class Block {
 public:
  // What the backward pass of one micro-batch needs.
  struct Saved {
    at::Tensor input, middle;               // [tokens, hidden]: x and y
    at::Tensor attention_input, mlp_input;  // after each norm
    Norm::Saved attention_norm, mlp_norm;
    SelfAttention::Saved attention;
    Mlp::Saved mlp;
  };

  // `layer` counts over the whole model, for names and dropout masks.
  Block(WeightStore& store, Communicator& tp, const ModelConfig& model, std::int64_t layer);

  // x [tokens, hidden] -> the same shape. `dropout` names the masks (its site is set here); the
  // probability 0 turns dropout off (evaluation).
  [[nodiscard]] at::Tensor forward(const at::Tensor& x, double dropout, DropoutKey key,
                                   Saved& saved) const;
  [[nodiscard]] at::Tensor backward(const at::Tensor& dz, double dropout, DropoutKey key,
                                    const Saved& saved);

 private:
  Communicator& tp_;
  std::int64_t seq_length_;
  std::uint32_t attention_site_, mlp_site_;
  Norm attention_norm_;
  SelfAttention attention_;
  Norm mlp_norm_;
  Mlp mlp_;
};

}  // namespace cuboid
