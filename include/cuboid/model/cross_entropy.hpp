// The language-model head: logits of this rank's part of the vocabulary and their cross entropy
// with the targets, summed over TP without ever gathering logits (Shoeybi et al.,
// arXiv:1909.08053, section 3).
#pragma once

#include <ATen/core/Tensor.h>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/config/config.hpp"
#include "cuboid/model/vocabulary.hpp"
#include "cuboid/model/weight.hpp"

namespace cuboid {

// Sum of -log softmax(logits)[target] over tokens, for logits divided over TP by columns.
struct CrossEntropy {
  // Over the tokens, in nats, fp64; the same on all TP ranks. A tensor, so that no GPU is waited
  // for.
  at::Tensor loss_sum;
  // d(loss_sum * scale)/d(logits), made in place of the logits; undefined without a scale.
  at::Tensor gradient;

  // logits [tokens, shard.num_rows] in any compute dtype: overwritten. targets [tokens] int64.
  // `scale` 0 computes the loss only.
  static CrossEntropy compute(at::Tensor logits, const at::Tensor& targets,
                              const VocabularyShard& shard, Communicator& tp, double scale);
};

class LmHead {
 public:
  // `tied`: the token embedding's weight of the same stage, or its copy on the last stage; null for
  // a weight of its own. `tied_gradient`: where a tied head's gradient goes.
  LmHead(WeightStore& store, Communicator& tp, const ModelConfig& model, Weight* tied,
         Weight* tied_gradient);

  // x [tokens, hidden] -> logits [tokens, shard.num_rows] in compute dtype, with padding
  [[nodiscard]] at::Tensor logits(const at::Tensor& x) const;
  // x [tokens, hidden], targets [tokens]. With scale 0 nothing is kept for backward.
  [[nodiscard]] CrossEntropy loss(const at::Tensor& x, const at::Tensor& targets, double scale);
  // d_logits from loss(), x as in forward -> dx [tokens, hidden], summed over TP
  [[nodiscard]] at::Tensor backward(const at::Tensor& d_logits, const at::Tensor& x);

  // This rank's part of the vocabulary, without padding.
  [[nodiscard]] std::int64_t num_logits() const { return shard_.rows.size(); }

 private:
  Communicator& tp_;
  VocabularyShard shard_;
  Weight* weight_;
  Weight* gradient_;
};

}  // namespace cuboid
