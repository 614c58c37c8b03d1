#include "cuboid/kernels/activation.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "cuboid/kernels/clones.hpp"
#include "host.hpp"
#include "on_device.hpp"

namespace cuboid {
namespace detail {
namespace {

// bias may be null.
template <typename T>
CUBOID_CLONES void gelu_rows(T* inner, const T* bias, T* out, std::int64_t width,
                             std::int64_t begin, std::int64_t end) {
  if (bias == nullptr) {
#pragma omp simd
    for (std::int64_t i = begin * width; i < end * width; ++i)
      out[i] = narrow<T>(gelu(widen(inner[i])));
    return;
  }
  for (std::int64_t row = begin; row < end; ++row) {
    T* x = inner + row * width;
    T* y = out + row * width;
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) {
      const T sum = narrow<T>(widen(x[c]) + widen(bias[c]));
      x[c] = sum;
      y[c] = narrow<T>(gelu(widen(sum)));
    }
  }
}

// Two rows at once, so that the sums are read and written half as often.
template <typename T>
CUBOID_CLONES void gelu_backward_rows(T* gradient, const T* inner, std::int64_t width,
                                      std::int64_t begin, std::int64_t end, Wide<T>* sums) {
  using W = Wide<T>;
  std::fill(sums, sums + width, W(0));
  std::int64_t row = begin;
  for (; row + 2 <= end; row += 2) {
    T* d = gradient + row * width;
    const T* x = inner + row * width;
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) {
      const T first = narrow<T>(widen(d[c]) * gelu_slope(widen(x[c])));
      const T second = narrow<T>(widen(d[c + width]) * gelu_slope(widen(x[c + width])));
      d[c] = first;
      d[c + width] = second;
      sums[c] += widen(first) + widen(second);
    }
  }
  for (; row < end; ++row) {
    T* d = gradient + row * width;
    const T* x = inner + row * width;
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) {
      d[c] = narrow<T>(widen(d[c]) * gelu_slope(widen(x[c])));
      sums[c] += widen(d[c]);
    }
  }
}

template <typename T>
CUBOID_CLONES void gelu_backward_flat(T* gradient, const T* inner, std::int64_t begin,
                                      std::int64_t end) {
#pragma omp simd
  for (std::int64_t i = begin; i < end; ++i)
    gradient[i] = narrow<T>(widen(gradient[i]) * gelu_slope(widen(inner[i])));
}

template <typename T>
CUBOID_CLONES void swiglu_rows(const T* inner, T* out, std::int64_t width, std::int64_t begin,
                               std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    const T* gate = inner + 2 * row * width;
    const T* up = gate + width;
    T* y = out + row * width;
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) {
      const Wide<T> g = widen(gate[c]);
      y[c] = narrow<T>(times_sigmoid(g, g) * widen(up[c]));
    }
  }
}

template <typename T>
CUBOID_CLONES void swiglu_backward_rows(const T* gradient, const T* inner, T* d_inner,
                                        std::int64_t width, std::int64_t begin, std::int64_t end) {
  using W = Wide<T>;
  for (std::int64_t row = begin; row < end; ++row) {
    const T* d = gradient + row * width;
    const T* gate = inner + 2 * row * width;
    const T* up = gate + width;
    T* d_gate = d_inner + 2 * row * width;
    T* d_up = d_gate + width;
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) {
      const W g = widen(gate[c]);
      const W upstream = widen(d[c]);
      const Sigmoid<W> s = sigmoid(g);
      d_gate[c] = narrow<T>(upstream * widen(up[c]) * s.value * (W(1) + g * s.rest));
      d_up[c] = narrow<T>(upstream * g * s.value);
    }
  }
}

}  // namespace
}  // namespace detail

at::Tensor bias_gelu(const at::Tensor& inner, const at::Tensor& bias) {
  using namespace detail;
  if (!inner.is_cpu()) return bias_gelu_on_device(inner, bias);
  const std::int64_t width = inner.size(1);
  require(!bias.defined() || bias.numel() == width, "a bias has an element for each column");
  at::Tensor activated = at::empty_like(inner);
  for_type(inner, [&]<typename T>() {
    T* x = mutable_data<T>(inner);
    const T* b = data<T>(bias);
    T* y = mutable_data<T>(activated);
    at::parallel_for(
        0, inner.size(0), grain_rows(width),
        [&](std::int64_t begin, std::int64_t end) { gelu_rows(x, b, y, width, begin, end); });
  });
  return activated;
}

at::Tensor gelu_backward(const at::Tensor& d_activated, const at::Tensor& inner,
                         const GradientTarget& bias) {
  using namespace detail;
  if (!inner.is_cpu()) return gelu_backward_on_device(d_activated, inner, bias);
  require(d_activated.sizes() == inner.sizes(), "a gradient has its tensor's shape");
  const std::int64_t rows = inner.size(0);
  const std::int64_t width = inner.size(1);
  for_type(inner, [&]<typename T>() {
    T* d = mutable_data<T>(d_activated);
    const T* x = data<T>(inner);
    if (!bias.gradient.defined()) {
      at::parallel_for(0, rows, grain_rows(width), [&](std::int64_t begin, std::int64_t end) {
        gelu_backward_flat(d, x, begin * width, end * width);
      });
      return;
    }
    require(bias.gradient.numel() == width, "a target takes every column");
    const ColumnSums sums(rows, width, inner.scalar_type());
    sums.for_blocks([&](std::int64_t block) {
      gelu_backward_rows(d, x, width, sums.begin(block), sums.end(block),
                         sums.of_block<Wide<T>>(block));
    });
    sums.deliver(0, bias);
  });
  return d_activated;
}

at::Tensor swiglu(const at::Tensor& inner) {
  using namespace detail;
  if (!inner.is_cpu()) return swiglu_on_device(inner);
  const std::int64_t width = inner.size(1) / 2;
  at::Tensor activated = at::empty({inner.size(0), width}, inner.options());
  for_type(inner, [&]<typename T>() {
    const T* x = data<T>(inner);
    T* y = mutable_data<T>(activated);
    at::parallel_for(
        0, inner.size(0), grain_rows(width),
        [&](std::int64_t begin, std::int64_t end) { swiglu_rows(x, y, width, begin, end); });
  });
  return activated;
}

at::Tensor swiglu_backward(const at::Tensor& d_activated, const at::Tensor& inner) {
  using namespace detail;
  if (!inner.is_cpu()) return swiglu_backward_on_device(d_activated, inner);
  const std::int64_t width = inner.size(1) / 2;
  require(d_activated.size(0) == inner.size(0) && d_activated.size(1) == width,
          "a gradient has its tensor's shape");
  at::Tensor d_inner = at::empty_like(inner);
  for_type(inner, [&]<typename T>() {
    const T* d = data<T>(d_activated);
    const T* x = data<T>(inner);
    T* out = mutable_data<T>(d_inner);
    at::parallel_for(0, inner.size(0), grain_rows(width),
                     [&](std::int64_t begin, std::int64_t end) {
                       swiglu_backward_rows(d, x, out, width, begin, end);
                     });
  });
  return d_inner;
}

}  // namespace cuboid
