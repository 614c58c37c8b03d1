// Token embedding with its rows divided over TP, plus learned positions where the model has them.
#pragma once

#include <ATen/core/Tensor.h>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/config/config.hpp"
#include "cuboid/model/vocabulary.hpp"
#include "cuboid/model/weight.hpp"

namespace cuboid {

class Embedding {
 public:
  Embedding(WeightStore& store, Communicator& tp, const ModelConfig& model);

  // tokens [sequences * seq] int64 in [0, vocab) -> [tokens, hidden], summed over TP
  [[nodiscard]] at::Tensor forward(const at::Tensor& tokens) const;
  // dy [tokens, hidden]
  void backward(const at::Tensor& dy, const at::Tensor& tokens);

  [[nodiscard]] Weight& token_weight() const { return *token_; }

 private:
  Communicator& tp_;
  std::int64_t seq_length_;
  VocabularyShard shard_;
  Weight* token_;
  Weight* position_ = nullptr;
};

// The token embedding's weight; `is_copy` on a last stage that shares it with the first.
Weight& add_token_weight(WeightStore& store, const Communicator& tp, const ModelConfig& model,
                         bool is_copy);

}  // namespace cuboid
