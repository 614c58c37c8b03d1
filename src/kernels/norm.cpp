#include "cuboid/kernels/norm.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "cuboid/kernels/activation.hpp"
#include "cuboid/kernels/clones.hpp"
#include "host.hpp"
#include "on_device.hpp"

namespace cuboid {
namespace detail {
namespace {

// One forward call. Without delta there is no sum to write: it is the residual.
template <typename T>
struct Forward {
  const T *residual, *delta, *delta_bias, *weight, *bias;
  T *sum, *normalized;
  Wide<T>*mean, *rstd;
  std::int64_t width;
  Wide<T> epsilon;
};

template <typename T>
[[gnu::always_inline]] inline void add_row(const T* x, const T* delta, const T* delta_bias, T* sum,
                                           std::int64_t width) {
  if (delta_bias == nullptr) {
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) sum[c] = narrow<T>(widen(x[c]) + widen(delta[c]));
    return;
  }
#pragma omp simd
  for (std::int64_t c = 0; c < width; ++c)
    sum[c] = narrow<T>(widen(x[c]) + (widen(delta[c]) + widen(delta_bias[c])));
}

// The row is in the first-level cache after the first loop, so that the others cost little.
template <typename T>
CUBOID_CLONES void normalize_rows(const Forward<T>& a, std::int64_t begin, std::int64_t end) {
  using W = Wide<T>;
  const std::int64_t width = a.width;
  const W share = W(1) / static_cast<W>(width);
  const T* weight = a.weight;
  const T* bias = a.bias;
  for (std::int64_t row = begin; row < end; ++row) {
    const T* x = a.residual + row * width;
    if (a.delta != nullptr) {
      T* sum = a.sum + row * width;
      add_row(x, a.delta + row * width, a.delta_bias, sum, width);
      x = sum;
    }
    T* y = a.normalized + row * width;
    W mean = 0;
    W squares = 0;
    if (bias != nullptr) {
#pragma omp simd reduction(+ : mean)
      for (std::int64_t c = 0; c < width; ++c) mean += widen(x[c]);
      mean *= share;
#pragma omp simd reduction(+ : squares)
      for (std::int64_t c = 0; c < width; ++c) {
        const W centred = widen(x[c]) - mean;
        squares += centred * centred;
      }
      a.mean[row] = mean;
    } else {
#pragma omp simd reduction(+ : squares)
      for (std::int64_t c = 0; c < width; ++c) squares += widen(x[c]) * widen(x[c]);
    }
    const W rstd = W(1) / std::sqrt(squares * share + a.epsilon);
    a.rstd[row] = rstd;
    if (bias == nullptr) {
#pragma omp simd
      for (std::int64_t c = 0; c < width; ++c)
        y[c] = narrow<T>(widen(x[c]) * rstd * widen(weight[c]));
      continue;
    }
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c)
      y[c] = narrow<T>((widen(x[c]) - mean) * rstd * widen(weight[c]) + widen(bias[c]));
  }
}

template <typename T>
CUBOID_CLONES void add_rows(const T* residual, const T* delta, const T* delta_bias, T* sum,
                            std::int64_t width, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row)
    add_row(residual + row * width, delta + row * width, delta_bias, sum + row * width, width);
}

// One backward call. d_residual and d_sum may be the same memory.
template <typename T>
struct Backward {
  const T *dy, *sum, *weight, *d_residual;
  const Wide<T>*mean, *rstd;
  T* d_sum;
  std::int64_t width;
};

// Of one block of rows: sums of the columns of dy * normalized, and, for LayerNorm, whose model has
// biases, of dy and d_sum.
template <typename W>
struct BlockSums {
  W *weight, *bias, *delta_bias;
};

// kRows rows at once, so that each column's sums are read and written once for all of them. With
// n = (x - mean) * rstd and g = dy * weight: d_sum = rstd * (g - mean(g) - n * mean(g n)), where
// RMSNorm has neither mean.
template <int kRows, bool kCentred, bool kResidual, typename T>
[[gnu::always_inline]] inline void differentiate(const Backward<T>& a, std::int64_t row,
                                                 const BlockSums<Wide<T>>& sums) {
  using W = Wide<T>;
  const std::int64_t width = a.width;
  const W share = W(1) / static_cast<W>(width);
  const T* dy = a.dy + row * width;
  const T* x = a.sum + row * width;
  const T* residual = kResidual ? a.d_residual + row * width : nullptr;
  const T* weight = a.weight;
  T* d_sum = a.d_sum + row * width;
  W mean[kRows];
  W rstd[kRows];
  W mean_g[kRows];
  W mean_gn[kRows];
  for (int r = 0; r < kRows; ++r) {
    const T* dy_row = dy + r * width;
    const T* x_row = x + r * width;
    const W m = kCentred ? a.mean[row + r] : W(0);
    const W s = a.rstd[row + r];
    W sum_g = 0;
    W sum_gn = 0;
#pragma omp simd reduction(+ : sum_g, sum_gn)
    for (std::int64_t c = 0; c < width; ++c) {
      const W g = widen(dy_row[c]) * widen(weight[c]);
      if constexpr (kCentred) sum_g += g;
      sum_gn += g * (widen(x_row[c]) - m);
    }
    mean[r] = m;
    rstd[r] = s;
    mean_g[r] = sum_g * share;
    mean_gn[r] = sum_gn * share * s;
  }
  W* to_weight = sums.weight;
  W* to_bias = sums.bias;
  W* to_delta_bias = sums.delta_bias;
#pragma omp simd
  for (std::int64_t c = 0; c < width; ++c) {
    const W w = widen(weight[c]);
    W d_weight = 0;
    W d_bias = 0;
    W d_delta_bias = 0;
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const W upstream = widen(dy[r * width + c]);
      const W n = (widen(x[r * width + c]) - mean[r]) * rstd[r];
      d_weight += upstream * n;
      W d = upstream * w - n * mean_gn[r];
      if constexpr (kCentred) {
        d_bias += upstream;
        d -= mean_g[r];
      }
      d *= rstd[r];
      if constexpr (kResidual) d += widen(residual[r * width + c]);
      const T rounded = narrow<T>(d);
      d_sum[r * width + c] = rounded;
      if constexpr (kCentred) d_delta_bias += widen(rounded);
    }
    to_weight[c] += d_weight;
    if constexpr (kCentred) {
      to_bias[c] += d_bias;
      to_delta_bias[c] += d_delta_bias;
    }
  }
}

template <bool kCentred, bool kResidual, typename T>
CUBOID_CLONES void differentiate_rows(const Backward<T>& a, std::int64_t begin, std::int64_t end,
                                      const BlockSums<Wide<T>>& sums) {
  constexpr int kTogether = 4;
  std::fill(sums.weight, sums.weight + a.width, Wide<T>(0));
  if constexpr (kCentred) {
    std::fill(sums.bias, sums.bias + a.width, Wide<T>(0));
    std::fill(sums.delta_bias, sums.delta_bias + a.width, Wide<T>(0));
  }
  std::int64_t row = begin;
  for (; row + kTogether <= end; row += kTogether)
    differentiate<kTogether, kCentred, kResidual>(a, row, sums);
  for (; row < end; ++row) differentiate<1, kCentred, kResidual>(a, row, sums);
}

template <typename T>
void differentiate_block(const Backward<T>& a, bool centred, std::int64_t begin, std::int64_t end,
                         const BlockSums<Wide<T>>& sums) {
  const bool residual = a.d_residual != nullptr;
  if (centred) {
    residual ? differentiate_rows<true, true>(a, begin, end, sums)
             : differentiate_rows<true, false>(a, begin, end, sums);
  } else {
    residual ? differentiate_rows<false, true>(a, begin, end, sums)
             : differentiate_rows<false, false>(a, begin, end, sums);
  }
}

void check_parameters(const NormParameters& p, std::int64_t width) {
  const bool centred = p.kind == Normalization::kLayerNorm;
  require(p.weight.numel() == width && p.bias.defined() == centred &&
              (!centred || p.bias.numel() == width),
          "a norm has a weight for each column, and a bias where it is LayerNorm");
}

void check_delta(const at::Tensor& residual, const at::Tensor& delta, const at::Tensor& bias) {
  require(residual.dim() == 2 && (!delta.defined() || delta.sizes() == residual.sizes()) &&
              (!bias.defined() || (delta.defined() && bias.numel() == residual.size(1))),
          "what is added to the residual stream has its shape");
}

at::Tensor memory_of_sum(const at::Tensor& residual, const at::Tensor& delta, SumMemory memory) {
  if (!delta.defined()) return residual;
  return memory == SumMemory::kDelta ? delta : at::empty_like(residual);
}

at::TensorOptions statistics_options(const at::Tensor& x) {
  return at::TensorOptions(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
}

}  // namespace
}  // namespace detail

AddNorm add_norm(const at::Tensor& residual, const at::Tensor& delta, const at::Tensor& delta_bias,
                 const NormParameters& parameters, SumMemory memory) {
  using namespace detail;
  if (!residual.is_cpu())
    return add_norm_on_device(residual, delta, delta_bias, parameters, memory);
  const std::int64_t rows = residual.size(0);
  const std::int64_t width = residual.size(1);
  check_delta(residual, delta, delta_bias);
  check_parameters(parameters, width);
  AddNorm result;
  result.sum = memory_of_sum(residual, delta, memory);
  result.normalized = at::empty_like(residual);
  result.statistics.rstd = at::empty({rows}, statistics_options(residual));
  if (parameters.bias.defined())
    result.statistics.mean = at::empty({rows}, statistics_options(residual));
  for_type(residual, [&]<typename T>() {
    const Forward<T> forward{.residual = data<T>(residual),
                             .delta = data<T>(delta),
                             .delta_bias = data<T>(delta_bias),
                             .weight = data<T>(parameters.weight),
                             .bias = data<T>(parameters.bias),
                             .sum = mutable_data<T>(result.sum),
                             .normalized = mutable_data<T>(result.normalized),
                             .mean = mutable_data<Wide<T>>(result.statistics.mean),
                             .rstd = mutable_data<Wide<T>>(result.statistics.rstd),
                             .width = width,
                             .epsilon = static_cast<Wide<T>>(parameters.epsilon)};
    at::parallel_for(0, rows, grain_rows(width), [&](std::int64_t begin, std::int64_t end) {
      normalize_rows(forward, begin, end);
    });
  });
  return result;
}

at::Tensor add_delta(const at::Tensor& residual, const at::Tensor& delta,
                     const at::Tensor& delta_bias, SumMemory memory) {
  using namespace detail;
  if (!residual.is_cpu()) return add_delta_composed(residual, delta, delta_bias, memory);
  check_delta(residual, delta, delta_bias);
  if (!delta.defined()) return residual;
  const at::Tensor sum = memory_of_sum(residual, delta, memory);
  for_type(residual, [&]<typename T>() {
    const std::int64_t width = residual.size(1);
    const T* x = data<T>(residual);
    const T* d = data<T>(delta);
    const T* b = data<T>(delta_bias);
    T* out = mutable_data<T>(sum);
    at::parallel_for(
        0, residual.size(0), grain_rows(width),
        [&](std::int64_t begin, std::int64_t end) { add_rows(x, d, b, out, width, begin, end); });
  });
  return sum;
}

at::Tensor add_norm_backward(const at::Tensor& dy, const at::Tensor& sum,
                             const NormStatistics& statistics, const NormParameters& parameters,
                             const at::Tensor& d_residual, const GradientTarget& weight,
                             const GradientTarget& bias, const GradientTarget& delta_bias) {
  using namespace detail;
  if (!dy.is_cpu()) {
    return add_norm_backward_on_device(dy, sum, statistics, parameters, d_residual, weight, bias,
                                       delta_bias);
  }
  const std::int64_t width = sum.size(1);
  check_delta(dy, sum, {});
  check_delta(dy, d_residual, {});
  check_parameters(parameters, width);
  const bool centred = parameters.bias.defined();
  const at::Tensor d_sum = d_residual.defined() ? d_residual : at::empty_like(sum);
  const ColumnSums sums(sum.size(0), (centred ? 3 : 1) * width, sum.scalar_type());
  for_type(sum, [&]<typename T>() {
    const Backward<T> backward{.dy = data<T>(dy),
                               .sum = data<T>(sum),
                               .weight = data<T>(parameters.weight),
                               .d_residual = data<T>(d_residual),
                               .mean = data<Wide<T>>(statistics.mean),
                               .rstd = data<Wide<T>>(statistics.rstd),
                               .d_sum = mutable_data<T>(d_sum),
                               .width = width};
    sums.for_blocks([&](std::int64_t block) {
      auto* first = sums.of_block<Wide<T>>(block);
      differentiate_block(backward, centred, sums.begin(block), sums.end(block),
                          {first, first + width, first + 2 * width});
    });
  });
  sums.deliver(0, weight);
  if (centred) {
    sums.deliver(width, bias);
    sums.deliver(2 * width, delta_bias);
  } else {
    add_column_sums(d_sum, delta_bias);
  }
  return d_sum;
}

}  // namespace cuboid
