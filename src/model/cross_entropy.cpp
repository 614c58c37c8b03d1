#include "cuboid/model/cross_entropy.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>

#include "cuboid/kernels/cross_entropy.hpp"
#include "cuboid/kernels/product.hpp"
#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid {

CrossEntropy CrossEntropy::compute(at::Tensor logits, const at::Tensor& targets,
                                   const VocabularyShard& shard, Communicator& tp, double scale) {
  const std::int64_t num_rows = shard.rows.size();
  CrossEntropy result;
  if (tp.size() == 1) {
    result.loss_sum = cross_entropy_(logits, targets, num_rows, scale);
  } else {
    RowSums part = cross_entropy_rows(logits, targets, shard.rows.begin, num_rows);
    at::Tensor maximum = part.maximum.clone();
    tp.all_reduce(buffer_of(maximum), ReduceOp::kMax);
    part.sum.mul_(part.maximum.sub_(maximum).exp_());
    at::Tensor sums = at::stack({part.sum, part.target_logit});  // [2, tokens]
    tp.all_reduce(buffer_of(sums));
    result.loss_sum = (sums[0].log() + (maximum - sums[1])).sum(at::kDouble);
    if (scale != 0.0) {
      cross_entropy_gradient_(logits, targets, maximum, sums[0], shard.rows.begin, num_rows, scale);
    }
  }
  if (scale != 0.0) result.gradient = std::move(logits);
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
  return multiply(x, weight_->value.t());
}

CrossEntropy LmHead::loss(const at::Tensor& x, const at::Tensor& targets, double scale) {
  return CrossEntropy::compute(logits(x), targets, shard_, tp_, scale);
}

at::Tensor LmHead::backward(const at::Tensor& d_logits, const at::Tensor& x) {
  at::Tensor dx = empty_to_reduce(tp_, {d_logits.size(0), weight_->value.size(1)}, x.options());
  multiply_out(dx, d_logits, weight_->value);
  const PendingWork sum = tp_.start_all_reduce(buffer_of(dx), ReduceOp::kSum);
  gradient_->accumulate_product(d_logits, x);
  sum->wait();
  return dx;
}

}  // namespace cuboid
