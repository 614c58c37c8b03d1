#include "cuboid/model/cross_entropy.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <limits>

#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid {

CrossEntropy CrossEntropy::compute(at::Tensor logits, const at::Tensor& targets,
                                   const VocabularyShard& shard, Communicator& tp, double scale) {
  if (shard.padding() > 0) {
    logits.narrow(1, shard.rows.size(), shard.padding())
        .fill_(-std::numeric_limits<double>::infinity());
  }
  at::Tensor maximum = at::amax(logits, 1);
  tp.all_reduce(buffer_of(maximum), ReduceOp::kMax);
  logits.sub_(maximum.unsqueeze(1));

  // The target's logit counts where its row lives; elsewhere row 0 stands in and is masked.
  at::Tensor rows = targets;
  at::Tensor mine;
  if (tp.size() > 1) {
    rows = targets - shard.rows.begin;
    mine = (rows >= 0).logical_and_(rows < shard.rows.size()).to(logits.scalar_type());
    rows = rows.clamp(0, shard.num_rows - 1);
  }
  rows = rows.unsqueeze(1);
  at::Tensor target_logit = at::gather(logits, 1, rows).squeeze(1);
  if (mine.defined())
    target_logit = at::where(mine > 0, target_logit, at::zeros_like(target_logit));
  logits.exp_();
  at::Tensor sums = at::stack({at::sum(logits, 1), target_logit});  // [2, tokens]
  tp.all_reduce(buffer_of(sums));

  CrossEntropy result;
  result.loss_sum = (sums[0].log() - sums[1]).sum(at::kDouble);
  if (scale != 0.0) {
    logits.mul_((scale / sums[0]).unsqueeze(1));
    const at::Tensor subtract = mine.defined() ? mine.mul(-scale).unsqueeze(1)
                                               : at::full_like(rows, -scale, logits.options());
    logits.scatter_add_(1, rows, subtract);
    result.gradient = std::move(logits);
  }
  return result;
}

LmHead::LmHead(WeightStore& store, Communicator& tp, const ModelConfig& model, Weight* tied,
               Weight* tied_gradient)
    : tp_(tp),
      shard_(vocabulary_shard(model.vocab_size, tp.size(), tp.rank())),
      weight_(tied),
      gradient_(tied_gradient) {
  if (weight_ != nullptr) return;
  weight_ = &store.add({{.name = "head.weight",
                         .shape = {model.vocab_size, model.hidden_size},
                         .shard_dim = 0,
                         .shard = shard_.rows,
                         .init = Init::kNormal,
                         .init_std = model.init_std}},
                       shard_.padding());
  gradient_ = weight_;
}

at::Tensor LmHead::logits(const at::Tensor& x) const {
  return at::mm(x, weight_->value.t());
}

CrossEntropy LmHead::loss(const at::Tensor& x, const at::Tensor& targets, double scale) {
  at::Tensor raw = logits(x);
  if (raw.scalar_type() == at::kBFloat16) raw = raw.to(at::kFloat);
  CrossEntropy result = CrossEntropy::compute(std::move(raw), targets, shard_, tp_, scale);
  // Kept until backward: half the memory in bf16, and the type that its products take.
  if (result.gradient.defined()) result.gradient = result.gradient.to(x.scalar_type());
  return result;
}

at::Tensor LmHead::backward(const at::Tensor& d_logits, const at::Tensor& x) {
  at::Tensor dx = empty_to_reduce(tp_, {d_logits.size(0), weight_->value.size(1)}, x.options());
  at::mm_out(dx, d_logits, weight_->value);
  const PendingWork sum = tp_.start_all_reduce(buffer_of(dx), ReduceOp::kSum);
  gradient_->accumulate_product(d_logits, x);
  sum->wait();
  return dx;
}

}  // namespace cuboid
