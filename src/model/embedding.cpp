#include "cuboid/model/embedding.hpp"

#include "cuboid/kernels/embedding.hpp"
#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid {

Weight& add_token_weight(WeightStore& store, const Communicator& tp, const ModelConfig& model,
                         bool is_copy) {
  const VocabularyShard shard = vocabulary_shard(model.vocab_size, tp.size(), tp.rank());
  return store.add({{.name = "embedding.token.weight",
                     .shape = {model.vocab_size, model.hidden_size},
                     .shard_dim = 0,
                     .shard = shard.rows,
                     .init = Init::kNormal,
                     .init_std = model.init_std,
                     .is_copy = is_copy}},
                   shard.padding());
}

Embedding::Embedding(WeightStore& store, Communicator& tp, const ModelConfig& model)
    : tp_(tp),
      seq_length_(model.seq_length),
      shard_(vocabulary_shard(model.vocab_size, tp.size(), tp.rank())),
      token_(&add_token_weight(store, tp, model, /*is_copy=*/false)) {
  if (model.has_learned_positions()) {
    position_ = &store.add({{.name = "embedding.position.weight",
                             .shape = {model.seq_length, model.hidden_size},
                             .init = Init::kNormal,
                             .init_std = model.init_std}});
  }
}

at::Tensor Embedding::forward(const at::Tensor& tokens) const {
  // The first rank adds the positions to its partial sum: no pass over y for them alone.
  const bool adds_positions = position_ != nullptr && tp_.rank() == 0;
  at::Tensor y = embed(tokens, token_->value, shard_.rows.begin, shard_.rows.size(),
                       adds_positions ? position_->value : at::Tensor());
  tp_.all_reduce(buffer_of(y));
  return y;
}

void Embedding::backward(const at::Tensor& dy, const at::Tensor& tokens) {
  if (token_->fresh) token_->gradient.zero_();
  token_->fresh = false;
  add_rows_(token_->gradient, dy, tokens, shard_.rows.begin, shard_.rows.size());
  if (position_ == nullptr) return;
  add_positions(dy, {.gradient = position_->gradient, .accumulate = !position_->fresh});
  position_->fresh = false;
}

}  // namespace cuboid
