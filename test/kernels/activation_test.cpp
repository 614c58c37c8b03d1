// ranks: 1
// GELU with its bias, SwiGLU and column sums, both passes, against fp64 and LibTorch's autograd.
#include "cuboid/kernels/activation.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "close.hpp"

namespace cuboid {
namespace {

void for_everything(const std::function<void(at::ScalarType, RowsWidth)>& check) {
  for (const at::ScalarType type : kTypes)
    for (const RowsWidth shape : kShapes) check(type, shape);
}

// Wider than a normal distribution: the tails of both functions take part.
at::Tensor inputs(std::int64_t rows, std::int64_t width, at::ScalarType type) {
  return random({rows, width}, type) * 4;
}

TEST(Activation, Gelu) {
  for_everything([](at::ScalarType type, RowsWidth shape) {
    const std::string what = name_of(type, shape);
    const at::Tensor product = inputs(shape.rows, shape.width, type);
    const at::Tensor bias = random({shape.width}, type);
    const at::Tensor d = random({shape.rows, shape.width}, type);
    for (const bool with_bias : {false, true}) {
      const at::Tensor inner = product.clone();
      const at::Tensor got = bias_gelu(inner, with_bias ? bias : at::Tensor());
      at::Tensor sum = product.to(at::kDouble);
      if (with_bias) sum = sum + bias.to(at::kDouble);
      expect_close(inner, sum, 20, what);
      const at::Tensor x = inner.to(at::kDouble).requires_grad_();
      const at::Tensor want = at::gelu(x, "tanh");
      expect_close(got, want.detach(), 40, what);
      want.backward(d.to(at::kDouble));
      for (const bool accumulate : {false, true}) {
        const at::Tensor d_bias = at::ones({shape.width}, at::TensorOptions(gradient_type(type)));
        const at::Tensor d_inner = d.clone();
        const at::Tensor result =
            gelu_backward(d_inner, inner, {with_bias ? d_bias : at::Tensor(), accumulate});
        EXPECT_TRUE(result.is_same(d_inner)) << what;
        expect_close(result, x.grad(), 100, what);
        if (with_bias) {
          expect_close(d_bias, result.to(at::kDouble).sum(0) + (accumulate ? 1 : 0),
                       10 * std::sqrt(static_cast<double>(shape.rows)) + 20, what);
        }
      }
    }
  });
}

TEST(Activation, SwiGlu) {
  for_everything([](at::ScalarType type, RowsWidth shape) {
    const std::string what = name_of(type, shape);
    const at::Tensor inner = inputs(shape.rows, 2 * shape.width, type);
    const at::Tensor d = random({shape.rows, shape.width}, type);
    const at::Tensor x = inner.to(at::kDouble).requires_grad_();
    const at::Tensor want =
        at::silu(x.narrow(1, 0, shape.width)) * x.narrow(1, shape.width, shape.width);
    expect_close(swiglu(inner), want.detach(), 500, what);
    want.backward(d.to(at::kDouble));
    expect_close(swiglu_backward(d, inner), x.grad(), 500, what);
  });
}

TEST(Activation, ColumnSums) {
  for_everything([](at::ScalarType type, RowsWidth shape) {
    const at::Tensor x = random({shape.rows, shape.width}, type);
    for (const bool accumulate : {false, true}) {
      const at::Tensor sums = at::ones({shape.width}, at::TensorOptions(gradient_type(type)));
      add_column_sums(x, {sums, accumulate});
      expect_close(sums, x.to(at::kDouble).sum(0) + (accumulate ? 1 : 0),
                   10 * std::sqrt(static_cast<double>(shape.rows)) + 5, name_of(type, shape));
    }
  });
  add_column_sums(at::ones({3, 3}), {});  // not wanted
  const at::Tensor sums = at::ones({4});
  add_column_sums(at::zeros({0, 4}), {sums, true});
  EXPECT_EQ(sums.sum().item<float>(), 4.0F);
  add_column_sums(at::zeros({0, 4}), {sums, false});
  EXPECT_EQ(sums.sum().item<float>(), 0.0F);
}

TEST(Activation, CompositionAgrees) {
  for (const RowsWidth shape : kShapes) {
    const std::string what = name_of(at::kFloat, shape);
    const auto wide = [](const at::Tensor& x) { return x.to(at::kDouble); };
    const at::Tensor product = inputs(shape.rows, 2 * shape.width, at::kFloat);
    const at::Tensor bias = random({2 * shape.width}, at::kFloat);
    const at::Tensor inner = product.clone();
    const at::Tensor other = product.clone();
    expect_close(detail::bias_gelu_composed(other, bias), wide(bias_gelu(inner, bias)), 40, what);
    EXPECT_TRUE(inner.equal(other)) << what;
    const at::Tensor d = random({shape.rows, 2 * shape.width}, at::kFloat);
    const at::Tensor a = at::zeros({2 * shape.width});
    const at::Tensor b = at::ones({2 * shape.width});
    const at::Tensor want = gelu_backward(d.clone(), inner, {a, false});
    expect_close(detail::gelu_backward_composed(d, inner, {b, true}), wide(want), 100, what);
    expect_close(b, wide(a) + 1, 1e4, what);
    expect_close(detail::swiglu_composed(inner), wide(swiglu(inner)), 500, what);
    const at::Tensor half = d.narrow(1, 0, shape.width).contiguous();
    expect_close(detail::swiglu_backward_composed(half, inner), wide(swiglu_backward(half, inner)),
                 500, what);
  }
}

TEST(Activation, ThreadsDoNotChangeABit) {
  const int before = at::get_num_threads();
  for (const at::ScalarType type : kTypes) {
    const at::Tensor inner = inputs(700, 256, type);
    const at::Tensor d = random({700, 256}, type);
    std::vector<at::Tensor> first;
    for (const int threads : {1, 2, 5}) {
      at::set_num_threads(threads);
      const at::Tensor sums = at::zeros({2, 256}, at::TensorOptions(gradient_type(type)));
      add_column_sums(inner, {sums[0], false});
      const std::vector<at::Tensor> all = {bias_gelu(inner.clone(), {}),
                                           gelu_backward(d.clone(), inner, {sums[1], false}),
                                           swiglu(inner), sums};
      if (first.empty()) first = all;
      for (std::size_t i = 0; i < all.size(); ++i)
        EXPECT_TRUE(all[i].equal(first[i])) << threads << " threads, result " << i;
    }
  }
  at::set_num_threads(before);
}

}  // namespace
}  // namespace cuboid
