#include <ATen/ops/empty.h>
#include <ATen/ops/sort.h>

#include <optional>

#include "cross_entropy_composed.hpp"
#include "embedding_composed.hpp"
#include "flat_launch.hpp"
#include "on_device.hpp"
#include "vocabulary_launch.hpp"

namespace cuboid::detail {
namespace {

CrossEntropyLaunch launch_of(const at::Tensor& logits, const at::Tensor& targets,
                             std::int64_t first_row, std::int64_t num_rows) {
  require(logits.dim() == 2 && logits.size(0) == targets.numel() && num_rows <= logits.size(1),
          "a row of logits for each target");
  return {.type = kernel_type(logits),
          .rows = logits.size(0),
          .pitch = logits.size(1),
          .columns = num_rows,
          .first = first_row,
          .logits = pointer(logits),
          .targets = pointer<const std::int64_t>(targets),
          .maximum = nullptr,
          .sum = nullptr,
          .target_logit = nullptr,
          .losses = nullptr,
          .scale = 0.0};
}

}  // namespace

RowSums cross_entropy_rows_on_device(const at::Tensor& logits, const at::Tensor& targets,
                                     std::int64_t first_row, std::int64_t num_rows) {
  if (!has_kernels(logits)) {
    return composed_cross_entropy_rows(logits, targets, first_row, num_rows);
  }
  const auto empty = [&] {
    return at::empty({logits.size(0)}, logits.options().dtype(at::kFloat));
  };
  RowSums result{empty(), empty(), empty()};
  CrossEntropyLaunch launch = launch_of(logits, targets, first_row, num_rows);
  launch.maximum = pointer<float>(result.maximum);
  launch.sum = pointer<float>(result.sum);
  launch.target_logit = pointer<float>(result.target_logit);
  launch_cross_entropy_rows(launch, stream_of(logits));
  return result;
}

void cross_entropy_gradient_on_device_(const at::Tensor& logits, const at::Tensor& targets,
                                       const at::Tensor& maximum, const at::Tensor& sum,
                                       std::int64_t first_row, std::int64_t num_rows,
                                       double scale) {
  if (!has_kernels(logits)) {
    return composed_cross_entropy_gradient_(logits, targets, maximum, sum, first_row, num_rows,
                                            scale);
  }
  CrossEntropyLaunch launch = launch_of(logits, targets, first_row, num_rows);
  launch.maximum = pointer<float>(maximum);
  launch.sum = pointer<float>(sum);
  launch.scale = scale;
  launch_cross_entropy_gradient(launch, stream_of(logits));
}

at::Tensor cross_entropy_on_device_(const at::Tensor& logits, const at::Tensor& targets,
                                    std::int64_t num_rows, double scale) {
  if (!has_kernels(logits)) return composed_cross_entropy_(logits, targets, num_rows, scale);
  const auto fp64 = logits.options().dtype(at::kDouble);
  const at::Tensor losses = at::empty({logits.size(0)}, fp64);
  at::Tensor total = at::empty({}, fp64);
  CrossEntropyLaunch launch = launch_of(logits, targets, /*first_row=*/0, num_rows);
  launch.losses = pointer<double>(losses);
  launch.scale = scale;
  launch_cross_entropy(launch, stream_of(logits));
  launch_total(launch.losses, launch.rows, pointer<double>(total), stream_of(logits));
  return total;
}

at::Tensor embed_on_device(const at::Tensor& tokens, const at::Tensor& table,
                           std::int64_t first_row, std::int64_t num_rows,
                           const at::Tensor& positions) {
  if (!has_kernels(table)) return composed_embed(tokens, table, first_row, num_rows, positions);
  at::Tensor y = at::empty({tokens.numel(), table.size(1)}, table.options());
  launch_embedding({.type = kernel_type(table),
                    .tokens = tokens.numel(),
                    .width = table.size(1),
                    .first = first_row,
                    .num_rows = num_rows,
                    .seq_length = positions.defined() ? positions.size(0) : 1,
                    .ids = pointer<const std::int64_t>(tokens),
                    .weight = pointer(table),
                    .positions = pointer(positions),
                    .y = pointer(y)},
                   stream_of(table));
  return y;
}

void add_rows_on_device_(const at::Tensor& gradient, const at::Tensor& dy, const at::Tensor& tokens,
                         std::int64_t first_row, std::int64_t num_rows) {
  if (!has_kernels(dy)) return composed_add_rows_(gradient, dy, tokens, first_row, num_rows);
  // Equal tokens side by side, in their order: each row has one place where it is added up.
  const auto [ids, order] = at::sort(tokens, /*stable=*/std::optional<bool>(true), /*dim=*/0,
                                     /*descending=*/false);
  launch_add_rows({.type = kernel_type(dy),
                   .tokens = tokens.numel(),
                   .width = dy.size(1),
                   .first = first_row,
                   .num_rows = num_rows,
                   .ids = pointer<const std::int64_t>(ids),
                   .order = pointer<const std::int64_t>(order),
                   .dy = pointer(dy),
                   .gradient = pointer<float>(gradient)},
                  stream_of(dy));
}

void add_positions_on_device(const at::Tensor& dy, const GradientTarget& target) {
  if (!has_kernels(dy)) return composed_add_positions(dy, target);
  const std::int64_t seq = target.gradient.size(0);
  const std::int64_t sequences = dy.size(0) / seq;
  require(dy.size(0) == sequences * seq && sequences > 0, "gradients of whole sequences");
  launch_add_positions({.type = kernel_type(dy),
                        .sequences = sequences,
                        .seq_length = seq,
                        .width = dy.size(1),
                        .dy = pointer(dy),
                        .gradient = pointer<float>(target.gradient),
                        .accumulate = target.accumulate},
                       stream_of(dy));
}

}  // namespace cuboid::detail
