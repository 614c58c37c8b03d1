#include "cuboid/model/stage.hpp"

#include <utility>

#include "cuboid/base/error.hpp"
#include "cuboid/kernels/activation.hpp"
#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid {

StagePlace stage_place(const ModelConfig& model, int num_stages, int index) {
  return {.layers = even_part(model.num_layers, num_stages, index),
          .is_first = index == 0,
          .is_last = index == num_stages - 1};
}

Stage::Stage(const ModelConfig& model, const StagePlace& place, Communicator& tp,
             const Options& options)
    : model_(model), place_(place), options_(options) {
  build(tp);
  store_.allocate(options.dtype, options.device, options.seed, options.dp);
  // Both halves of the workspace: whether there is room to share it is known before the first step.
  for (int half = 0; half < 2 && tp.size() > 1; ++half)
    empty_to_reduce(tp, boundary_shape(), boundary_options());
}

void Stage::build(Communicator& tp) {
  if (place_.is_first) embedding_.emplace(store_, tp, model_);
  const auto rotary = make_rotary(model_, boundary_options());
  for (std::int64_t layer = place_.layers.begin; layer < place_.layers.end; ++layer) {
    block_begin_.push_back(store_.weights().size());
    blocks_.push_back(
        std::make_unique<Block>(store_, tp, model_, layer, rotary, options_.attention));
  }
  block_begin_.push_back(store_.weights().size());
  if (place_.is_last) final_norm_.emplace(store_, model_, "final_norm");
  if (model_.tie_embeddings && place_.is_first) {
    tied_weight_ = &embedding_->token_weight();
    if (place_.is_last) tied_gradient_ = &store_.add_gradient_only(*tied_weight_);
  } else if (model_.tie_embeddings && place_.is_last) {
    tied_weight_ = &add_token_weight(store_, tp, model_, /*is_copy=*/true);
  }
  if (place_.is_last) {
    head_.emplace(store_, tp, model_, tied_weight_,
                  tied_gradient_ != nullptr ? tied_gradient_ : tied_weight_);
  }
}

void Stage::begin_step(std::vector<MicroBatch> micro_batches, double loss_scale) {
  require(saved_.empty(), "every forward of the step before had its backward");
  micro_batches_ = std::move(micro_batches);
  loss_scale_ = loss_scale;
  loss_sum_.reset();
  if (loss_scale != 0.0) store_.reset_gradients();
}

double Stage::loss_sum() const {
  return loss_sum_.defined() ? loss_sum_.item<double>() : 0.0;
}

std::vector<std::int64_t> Stage::boundary_shape() const {
  return {options_.micro_batch_size * model_.seq_length, model_.hidden_size};
}

at::TensorOptions Stage::boundary_options() const {
  return at::TensorOptions(options_.dtype).device(options_.device);
}

DropoutKey Stage::dropout_key(int micro_batch) const {
  const MicroBatch& batch = micro_batches_.at(static_cast<std::size_t>(micro_batch));
  const bool is_added = batch.samples_before.defined();
  return {
      .seed = options_.seed,
      .first_sample = batch.first_sample,
      .samples_before = is_added ? batch.samples_before.const_data_ptr<std::int64_t>() : nullptr};
}

Residual Stage::embed_and_run_blocks(int micro_batch, const at::Tensor& input, Saved& saved) {
  const DropoutKey key = dropout_key(micro_batch);
  Residual x{.stream = input};
  if (embedding_) {
    x.stream = embedding_->forward(micro_batches_[static_cast<std::size_t>(micro_batch)].tokens);
    apply_dropout_(x.stream, dropout(), model_.seq_length, key);
  }
  saved.blocks.resize(blocks_.size());
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    x = blocks_[i]->forward(x, dropout(), key, saved.blocks[i]);
    // Evaluation needs no more than the running activation.
    if (loss_scale_ == 0.0) saved.blocks[i] = {};
  }
  return x;
}

at::Tensor Stage::forward(int micro_batch, const at::Tensor& input) {
  Saved saved;
  Residual x = embed_and_run_blocks(micro_batch, input, saved);
  at::Tensor output;
  if (head_) {
    saved.head_input = final_norm_->forward(x, saved.final_norm);
    x = {};
    const auto& targets = micro_batches_[static_cast<std::size_t>(micro_batch)].targets;
    CrossEntropy loss = head_->loss(saved.head_input, targets, loss_scale_);
    loss_sum_ = loss_sum_.defined() ? loss_sum_.add_(loss.loss_sum) : loss.loss_sum;
    saved.d_logits = std::move(loss.gradient);
  } else {
    output = x.sum();
  }
  if (loss_scale_ != 0.0) saved_[micro_batch] = std::move(saved);
  return output;
}

at::Tensor Stage::backward(int micro_batch, const at::Tensor& gradient, bool is_last) {
  const auto found = saved_.find(micro_batch);
  require(found != saved_.end(), "a backward follows its forward");
  Saved saved = std::move(found->second);
  saved_.erase(found);
  const DropoutKey key = dropout_key(micro_batch);
  at::Tensor dx = gradient;
  if (head_) {
    dx = head_->backward(saved.d_logits, saved.head_input);
    saved.d_logits.reset();
    dx = final_norm_->backward(dx, saved.final_norm, {}, pending_bias(blocks_.size()));
    saved.final_norm = {};
    saved.head_input.reset();
    announce(is_last, block_begin_.back(), store_.weights().size());
  } else {
    add_column_sums(dx, contribution_to(pending_bias(blocks_.size())));
  }
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    dx = blocks_[i]->backward(dx, dropout(), key, std::move(saved.blocks[i]), pending_bias(i));
    announce(is_last, block_begin_[i], block_begin_[i + 1]);
  }
  if (!embedding_) return dx;
  if (dropout() > 0.0) apply_dropout_(dx, dropout(), model_.seq_length, key);
  embedding_->backward(dx, micro_batches_[static_cast<std::size_t>(micro_batch)].tokens);
  announce(is_last, 0, block_begin_.front());
  return {};
}

Weight* Stage::pending_bias(std::size_t num_blocks) const {
  return num_blocks > 0 ? blocks_[num_blocks - 1]->pending_bias(dropout()) : nullptr;
}

void Stage::announce(bool is_last, std::size_t first, std::size_t last) {
  if (!is_last || !listener_) return;
  for (std::size_t i = last; i-- > first;) listener_(*store_.weights()[i]);
}

at::Tensor Stage::logits(int micro_batch, const at::Tensor& input) {
  require(head_.has_value(), "logits are the last stage's");
  Saved saved;
  const Residual x = embed_and_run_blocks(micro_batch, input, saved);
  Norm::Saved unused;
  const at::Tensor all = head_->logits(final_norm_->forward(x, unused));
  return all.narrow(1, 0, head_->num_logits());
}

}  // namespace cuboid
