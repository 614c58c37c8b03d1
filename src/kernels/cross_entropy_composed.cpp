#include "cross_entropy_composed.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include "composed.hpp"

namespace cuboid::detail {
namespace {

// Which tokens have their target here, [tokens, 1], and its column (0 elsewhere).
struct Targets {
  at::Tensor are_here, columns;
};
Targets place(const at::Tensor& targets, std::int64_t first_row, std::int64_t num_rows) {
  const at::Tensor rows = (targets - first_row).unsqueeze(1);
  at::Tensor are_here = (rows >= 0).logical_and_(rows < num_rows);
  at::Tensor columns = at::where(are_here, rows, at::zeros_like(rows));
  return {std::move(are_here), std::move(columns)};
}

}  // namespace

RowSums composed_cross_entropy_rows(const at::Tensor& logits, const at::Tensor& targets,
                                    std::int64_t first_row, std::int64_t num_rows) {
  if (num_rows == 0) {
    const at::Tensor nothing = at::zeros_like(targets, widened(logits).options());
    return {nothing - std::numeric_limits<double>::infinity(), nothing, nothing};
  }
  const at::Tensor wide = widened(logits.narrow(1, 0, num_rows));
  const at::Tensor maximum = at::amax(wide, 1);
  const auto [are_here, columns] = place(targets, first_row, num_rows);
  const at::Tensor logit = at::gather(wide, 1, columns);
  return {maximum, at::sum(at::exp(wide - maximum.unsqueeze(1)), 1),
          at::where(are_here, logit, at::zeros_like(logit)).squeeze(1)};
}

void composed_cross_entropy_gradient_(const at::Tensor& logits, const at::Tensor& targets,
                                      const at::Tensor& maximum, const at::Tensor& sum,
                                      std::int64_t first_row, std::int64_t num_rows, double scale) {
  logits.narrow(1, num_rows, logits.size(1) - num_rows).zero_();
  if (num_rows == 0) return;
  const at::Tensor part = logits.narrow(1, 0, num_rows);
  at::Tensor wide = widened(part);
  wide.sub_(maximum.unsqueeze(1)).exp_().mul_((scale / sum).unsqueeze(1));
  const auto [are_here, columns] = place(targets, first_row, num_rows);
  wide.scatter_add_(1, columns, are_here.to(wide.scalar_type()).mul_(-scale));
  if (!wide.is_same(part)) part.copy_(wide);
}

at::Tensor composed_cross_entropy_(const at::Tensor& logits, const at::Tensor& targets,
                                   std::int64_t num_rows, double scale) {
  const RowSums rows = composed_cross_entropy_rows(logits, targets, 0, num_rows);
  if (scale != 0.0) {
    composed_cross_entropy_gradient_(logits, targets, rows.maximum, rows.sum, 0, num_rows, scale);
  }
  return (rows.sum.log() + (rows.maximum - rows.target_logit)).sum(at::kDouble);
}

}  // namespace cuboid::detail
