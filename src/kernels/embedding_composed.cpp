#include "embedding_composed.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/sum.h>

#include "composed.hpp"

namespace cuboid::detail {

at::Tensor composed_embed(const at::Tensor& tokens, const at::Tensor& table, std::int64_t first_row,
                          std::int64_t num_rows, const at::Tensor& positions) {
  const at::Tensor rows = tokens - first_row;
  const at::Tensor elsewhere = (rows < 0).logical_or_(rows >= num_rows);
  at::Tensor y = at::embedding(table, rows.clamp(0, table.size(0) - 1));
  y.masked_fill_(elsewhere.unsqueeze(1), 0);
  if (positions.defined()) {
    y.view({-1, positions.size(0), y.size(1)}).add_(positions.unsqueeze(0));
  }
  return y;
}

void composed_add_rows_(const at::Tensor& gradient, const at::Tensor& dy, const at::Tensor& tokens,
                        std::int64_t first_row, std::int64_t num_rows) {
  const at::Tensor rows = tokens - first_row;
  const at::Tensor valid = (rows >= 0).logical_and_(rows < num_rows);
  gradient.index_add_(0, rows.clamp(0, gradient.size(0) - 1),
                      dy.to(gradient.scalar_type()) * valid.unsqueeze(1));
}

void composed_add_positions(const at::Tensor& dy, const GradientTarget& target) {
  deliver(dy.view({-1, target.gradient.size(0), dy.size(1)})
              .sum(0, false, target.gradient.scalar_type()),
          target);
}

}  // namespace cuboid::detail
