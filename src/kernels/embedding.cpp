#include "cuboid/kernels/embedding.hpp"

#include <ATen/ops/empty.h>

#include "embedding_rows.hpp"
#include "host.hpp"
#include "on_device.hpp"

namespace cuboid {

at::Tensor embed(const at::Tensor& tokens, const at::Tensor& table, std::int64_t first_row,
                 std::int64_t num_rows, const at::Tensor& positions) {
  require(num_rows <= table.size(0), "rows of the table");
  if (table.is_cuda()) {
    return detail::embed_on_device(tokens, table, first_row, num_rows, positions);
  }
  const std::int64_t width = table.size(1);
  at::Tensor y = at::empty({tokens.numel(), width}, table.options());
  const detail::TableRows rows{tokens.const_data_ptr<std::int64_t>(), first_row, num_rows, width};
  detail::for_type(table, [&]<typename T>() {
    const T* from = detail::data<T>(table);
    const T* added = detail::data<T>(positions);
    const std::int64_t seq = positions.defined() ? positions.size(0) : 1;
    T* to = detail::mutable_data<T>(y);
    at::parallel_for(0, tokens.numel(), detail::grain_rows(width),
                     [&](std::int64_t begin, std::int64_t end) {
                       detail::look_up(rows, from, added, seq, to, begin, end);
                     });
  });
  return y;
}

void add_rows_(const at::Tensor& gradient, const at::Tensor& dy, const at::Tensor& tokens,
               std::int64_t first_row, std::int64_t num_rows) {
  require(num_rows <= gradient.size(0), "rows of the table");
  if (gradient.is_cuda()) {
    detail::add_rows_on_device_(gradient, dy, tokens, first_row, num_rows);
    return;
  }
  const std::int64_t width = gradient.size(1);
  const std::int64_t count = tokens.numel();
  const detail::TableRows rows{tokens.const_data_ptr<std::int64_t>(), first_row, num_rows, width};
  detail::for_type(dy, [&]<typename T>() {
    const T* from = detail::data<T>(dy);
    auto* to = detail::mutable_data<detail::Wide<T>>(gradient);
    // Each thread owns a range of columns, so that no two write to one element and the order of
    // additions never depends on the number of threads.
    constexpr std::int64_t kColumns = 64;
    const std::int64_t grain = detail::grain_rows(count * kColumns);
    at::parallel_for(0, (width + kColumns - 1) / kColumns, grain,
                     [&](std::int64_t begin, std::int64_t end) {
                       detail::add_columns(rows, from, count, to, begin * kColumns,
                                           std::min(width, end * kColumns));
                     });
  });
}

void add_positions(const at::Tensor& dy, const GradientTarget& target) {
  if (dy.is_cuda()) {
    detail::add_positions_on_device(dy, target);
    return;
  }
  const std::int64_t seq = target.gradient.size(0);
  const std::int64_t width = target.gradient.size(1);
  const std::int64_t sequences = dy.size(0) / seq;
  require(dy.size(0) == sequences * seq && sequences > 0, "gradients of whole sequences");
  detail::for_type(dy, [&]<typename T>() {
    const T* from = detail::data<T>(dy);
    auto* to = detail::mutable_data<detail::Wide<T>>(target.gradient);
    at::parallel_for(
        0, seq, detail::grain_rows(sequences * width), [&](std::int64_t begin, std::int64_t end) {
          detail::sum_sequences(from, sequences, seq, width, to, target.accumulate, begin, end);
        });
  });
}

}  // namespace cuboid
