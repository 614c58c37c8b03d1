#include "cuboid/model/embedding.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>

#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid {
namespace {

// Each thread owns a range of columns, so that no two write to one element and the order of
// additions never depends on the number of threads.
template <typename T>
void add_rows_on_host(T* gradient, std::int64_t num_rows, const T* dy, const std::int64_t* rows,
                      std::int64_t count, std::int64_t width) {
  constexpr std::int64_t kColumns = 64;
  at::parallel_for(0, (width + kColumns - 1) / kColumns, 1,
                   [&](std::int64_t begin, std::int64_t end) {
                     const std::int64_t first = begin * kColumns;
                     const std::int64_t last = std::min(width, end * kColumns);
                     for (std::int64_t i = 0; i < count; ++i) {
                       if (rows[i] < 0 || rows[i] >= num_rows) continue;
                       T* to = gradient + rows[i] * width;
                       const T* from = dy + i * width;
                       for (std::int64_t c = first; c < last; ++c) to[c] += from[c];
                     }
                   });
}

}  // namespace

void add_rows_(const at::Tensor& gradient, const at::Tensor& dy, const at::Tensor& rows) {
  const at::Tensor values = dy.to(gradient.scalar_type()).contiguous();
  if (gradient.is_cuda()) {
    const at::Tensor valid = (rows >= 0).logical_and_(rows < gradient.size(0));
    gradient.index_add_(0, rows.clamp(0, gradient.size(0) - 1), values * valid.unsqueeze(1));
    return;
  }
  const auto* ids = rows.const_data_ptr<std::int64_t>();
  if (gradient.scalar_type() == at::kDouble) {
    add_rows_on_host(gradient.mutable_data_ptr<double>(), gradient.size(0),
                     values.const_data_ptr<double>(), ids, rows.numel(), gradient.size(1));
  } else {
    add_rows_on_host(gradient.mutable_data_ptr<float>(), gradient.size(0),
                     values.const_data_ptr<float>(), ids, rows.numel(), gradient.size(1));
  }
}

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
  at::Tensor y;
  if (tp_.size() == 1) {
    y = at::embedding(token_->value, tokens);
  } else {
    const at::Tensor rows = tokens - shard_.rows.begin;
    const at::Tensor elsewhere = (rows < 0).logical_or_(rows >= shard_.rows.size());
    y = at::embedding(token_->value, rows.clamp(0, shard_.num_rows - 1));
    y.masked_fill_(elsewhere.unsqueeze(1), 0);
    tp_.all_reduce(buffer_of(y));
  }
  if (position_ != nullptr) {
    y.view({-1, seq_length_, y.size(1)}).add_(position_->value.unsqueeze(0));
  }
  return y;
}

void Embedding::backward(const at::Tensor& dy, const at::Tensor& tokens) {
  if (token_->fresh) token_->gradient.zero_();
  token_->fresh = false;
  // Rows of other ranks fall outside, rows of padding are never asked for.
  add_rows_(token_->gradient, dy, tokens - shard_.rows.begin);
  if (position_ != nullptr) {
    position_->accumulate(
        dy.view({-1, seq_length_, dy.size(1)}).sum(0, false, position_->gradient.scalar_type()));
  }
}

}  // namespace cuboid
