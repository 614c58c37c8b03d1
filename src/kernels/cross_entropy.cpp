#include "cuboid/kernels/cross_entropy.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>

#include <numeric>
#include <vector>

#include "cross_entropy_rows.hpp"
#include "host.hpp"
#include "on_device.hpp"

namespace cuboid {
namespace {

template <typename T>
detail::LogitRows<T> rows_of(const at::Tensor& logits, const at::Tensor& targets,
                             std::int64_t first_row, std::int64_t num_rows) {
  require(logits.dim() == 2 && logits.size(0) == targets.numel() && num_rows <= logits.size(1),
          "a row of logits for each target");
  return {.logits = detail::mutable_data<T>(logits),
          .targets = targets.const_data_ptr<std::int64_t>(),
          .columns = logits.size(1),
          .first_row = first_row,
          .num_rows = num_rows};
}

// Runs rows(begin, end) over all tokens.
template <typename Rows>
void for_tokens(const at::Tensor& logits, const Rows& rows) {
  at::parallel_for(0, logits.size(0), detail::grain_rows(logits.size(1)), rows);
}

}  // namespace

RowSums cross_entropy_rows(const at::Tensor& logits, const at::Tensor& targets,
                           std::int64_t first_row, std::int64_t num_rows) {
  if (logits.is_cuda()) {
    return detail::cross_entropy_rows_on_device(logits, targets, first_row, num_rows);
  }
  return detail::for_type(logits, [&]<typename T>() -> RowSums {
    using W = detail::Wide<T>;
    const auto part = rows_of<T>(logits, targets, first_row, num_rows);
    const auto options = logits.options().dtype(detail::kScalarType<W>);
    const auto empty = [&] { return at::empty({logits.size(0)}, options); };
    const RowSums result{empty(), empty(), empty()};
    auto* maximum = detail::mutable_data<W>(result.maximum);
    auto* sum = detail::mutable_data<W>(result.sum);
    auto* target_logit = detail::mutable_data<W>(result.target_logit);
    for_tokens(logits, [&](std::int64_t begin, std::int64_t end) {
      detail::scan_rows(part, maximum, sum, target_logit, begin, end);
    });
    return result;
  });
}

void cross_entropy_gradient_(const at::Tensor& logits, const at::Tensor& targets,
                             const at::Tensor& maximum, const at::Tensor& sum,
                             std::int64_t first_row, std::int64_t num_rows, double scale) {
  if (logits.is_cuda()) {
    detail::cross_entropy_gradient_on_device_(logits, targets, maximum, sum, first_row, num_rows,
                                              scale);
    return;
  }
  detail::for_type(logits, [&]<typename T>() {
    using W = detail::Wide<T>;
    const auto part = rows_of<T>(logits, targets, first_row, num_rows);
    const auto* maxima = detail::data<W>(maximum);
    const auto* sums = detail::data<W>(sum);
    for_tokens(logits, [&](std::int64_t begin, std::int64_t end) {
      detail::make_gradient_rows(part, maxima, sums, static_cast<W>(scale), begin, end);
    });
  });
}

at::Tensor cross_entropy_(const at::Tensor& logits, const at::Tensor& targets,
                          std::int64_t num_rows, double scale) {
  if (logits.is_cuda()) return detail::cross_entropy_on_device_(logits, targets, num_rows, scale);
  std::vector<double> losses(static_cast<std::size_t>(logits.size(0)));
  detail::for_type(logits, [&]<typename T>() {
    const auto part = rows_of<T>(logits, targets, /*first_row=*/0, num_rows);
    for_tokens(logits, [&](std::int64_t begin, std::int64_t end) {
      detail::lose_rows(part, static_cast<detail::Wide<T>>(scale), losses.data(), begin, end);
    });
  });
  return at::scalar_tensor(std::accumulate(losses.begin(), losses.end(), 0.0), at::kDouble);
}

}  // namespace cuboid
