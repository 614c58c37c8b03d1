// ranks: 1
// Residual addition and norm, both passes, against fp64 and LibTorch's autograd.
#include "cuboid/kernels/norm.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "close.hpp"

namespace cuboid {
namespace {

constexpr double kEpsilon = 1e-5;

NormParameters parameters_of(Normalization kind, std::int64_t width, at::ScalarType type) {
  const bool centred = kind == Normalization::kLayerNorm;
  return {.kind = kind,
          .epsilon = kEpsilon,
          .weight = random({width}, type),
          .bias = centred ? random({width}, type) : at::Tensor()};
}

at::Tensor reference(const at::Tensor& x, Normalization kind, const at::Tensor& weight,
                     const at::Tensor& bias) {
  if (kind == Normalization::kLayerNorm)
    return at::layer_norm(x, {x.size(1)}, weight, bias, kEpsilon);
  return x * (x.square().mean(-1, true) + kEpsilon).rsqrt() * weight;
}

at::Tensor wide(const at::Tensor& x) {
  return x.defined() ? x.to(at::kDouble) : x;
}

void for_everything(const std::function<void(Normalization, at::ScalarType, RowsWidth)>& check) {
  for (const Normalization kind : {Normalization::kLayerNorm, Normalization::kRmsNorm})
    for (const at::ScalarType type : kTypes)
      for (const RowsWidth shape : kShapes) check(kind, type, shape);
}

// Statistics of the sum as it was rounded.
void check_forward(const AddNorm& got, const NormParameters& p, const std::string& what) {
  const at::Tensor x = wide(got.sum);
  // A row of nearly equal numbers loses digits to its mean, in any order of computing.
  const at::Tensor want = reference(x, p.kind, wide(p.weight), wide(p.bias));
  expect_close(got.normalized, want, 200, what);
  const at::Tensor centred = p.kind == Normalization::kLayerNorm ? x - x.mean(-1, true) : x;
  expect_close(got.statistics.rstd, (centred.square().mean(-1) + kEpsilon).rsqrt(), 2000, what);
  if (p.kind == Normalization::kLayerNorm) {
    expect_close(got.statistics.mean, x.mean(-1), 20, what);
  }
}

TEST(Norm, AddsAndNormalizes) {
  for_everything([](Normalization kind, at::ScalarType type, RowsWidth shape) {
    const std::string what = name_of(type, shape);
    const NormParameters p = parameters_of(kind, shape.width, type);
    const at::Tensor residual = random({shape.rows, shape.width}, type);
    const at::Tensor before = residual.clone();
    const at::Tensor delta = random({shape.rows, shape.width}, type);
    const at::Tensor bias = random({shape.width}, type);
    for (const bool with_bias : {true, false}) {
      const at::Tensor b = with_bias ? bias : at::Tensor();
      at::Tensor sum = wide(residual) + wide(delta);
      if (with_bias) sum = sum + wide(bias);
      const AddNorm fresh = add_norm(residual, delta, b, p);
      expect_close(fresh.sum, sum, 10, what);
      check_forward(fresh, p, what);
      const at::Tensor memory = delta.clone();
      const AddNorm reused = add_norm(residual, memory, b, p, SumMemory::kDelta);
      EXPECT_TRUE(reused.sum.is_same(memory) && reused.sum.equal(fresh.sum)) << what;
      EXPECT_TRUE(reused.normalized.equal(fresh.normalized)) << what;
      EXPECT_TRUE(add_delta(residual, delta, b).equal(fresh.sum)) << what;
    }
    const AddNorm alone = add_norm(residual, {}, {}, p);
    EXPECT_TRUE(alone.sum.is_same(residual)) << what;
    check_forward(alone, p, what);
    EXPECT_TRUE(residual.equal(before)) << what;
  });
}

struct Gradients {
  at::Tensor sum, weight, bias, delta_bias;
};

Gradients by_autograd(const at::Tensor& dy, const at::Tensor& sum, const NormParameters& p,
                      const at::Tensor& d_residual) {
  const at::Tensor x = wide(sum).clone().requires_grad_();
  const at::Tensor weight = wide(p.weight).clone().requires_grad_();
  const at::Tensor bias = p.bias.defined() ? wide(p.bias).clone().requires_grad_() : at::Tensor();
  reference(x, p.kind, weight, bias).backward(wide(dy));
  at::Tensor d_sum = x.grad();
  if (d_residual.defined()) d_sum = d_sum + wide(d_residual);
  return {d_sum, weight.grad(), bias.defined() ? bias.grad() : bias, d_sum.sum(0)};
}

TEST(Norm, Differentiates) {
  for_everything([](Normalization kind, at::ScalarType type, RowsWidth shape) {
    const NormParameters p = parameters_of(kind, shape.width, type);
    const at::Tensor x = random({shape.rows, shape.width}, type) * 3;
    const at::Tensor dy = random({shape.rows, shape.width}, type);
    const AddNorm forward = add_norm(x, {}, {}, p);
    for (const bool with_residual : {false, true})
      for (const bool with_delta_bias : {false, true})
        for (const bool accumulate : {false, true}) {
          const at::Tensor d_residual =
              with_residual ? random({shape.rows, shape.width}, type) : at::Tensor();
          const Gradients want = by_autograd(dy, x, p, d_residual);
          const auto options = at::TensorOptions(gradient_type(type));
          const at::Tensor flat = at::ones({3, shape.width}, options);
          const auto target = [&](int row, bool wanted) {
            return GradientTarget{wanted ? flat[row] : at::Tensor(), accumulate};
          };
          const at::Tensor got =
              add_norm_backward(dy, x, forward.statistics, p, d_residual, target(0, true),
                                target(1, p.bias.defined()), target(2, with_delta_bias));
          const std::string what = name_of(type, shape);
          // One number a row has a gradient of zero, times rstd of up to 300.
          const double scale = shape.width < 4 ? 1e5 : 1e3;
          expect_close(got, want.sum, scale, what);
          EXPECT_TRUE(!with_residual || got.is_same(d_residual));
          // Sums of many rows lose a digit more.
          const double before = accumulate ? 1 : 0;
          const double sums = scale * std::sqrt(static_cast<double>(shape.rows));
          expect_close(flat[0], want.weight + before, sums, what + ", weight");
          if (p.bias.defined()) expect_close(flat[1], want.bias + before, sums, what + ", bias");
          if (with_delta_bias) {
            // Of the gradient as it was rounded.
            expect_close(flat[2], wide(got).sum(0) + before, sums, what + ", delta_bias");
          }
        }
  });
}

// What devices without kernels take is the same function.
TEST(Norm, CompositionAgrees) {
  for_everything([](Normalization kind, at::ScalarType type, RowsWidth shape) {
    if (type == at::kBFloat16 || shape.width < 4) return;
    const std::string what = name_of(type, shape);
    const NormParameters p = parameters_of(kind, shape.width, type);
    const at::Tensor residual = random({shape.rows, shape.width}, type);
    const at::Tensor delta = random({shape.rows, shape.width}, type);
    const at::Tensor bias = random({shape.width}, type);
    const AddNorm want = add_norm(residual, delta, bias, p);
    for (const SumMemory memory : {SumMemory::kNew, SumMemory::kDelta}) {
      const AddNorm got = detail::add_norm_composed(residual, delta.clone(), bias, p, memory);
      expect_close(got.sum, wide(want.sum), 20, what);
      expect_close(got.normalized, wide(want.normalized), 200, what);
    }
    const at::Tensor dy = random({shape.rows, shape.width}, type);
    const at::Tensor d_residual = random({shape.rows, shape.width}, type);
    const auto options = at::TensorOptions(gradient_type(type));
    const at::Tensor a = at::zeros({3, shape.width}, options);
    const at::Tensor b = at::ones({3, shape.width}, options);
    const at::Tensor d_bias = p.bias.defined() ? a[1] : at::Tensor();
    const at::Tensor d = add_norm_backward(dy, want.sum, want.statistics, p, d_residual.clone(),
                                           {a[0], false}, {d_bias, false}, {a[2], false});
    const at::Tensor e = detail::add_norm_backward_composed(
        dy, want.sum, want.statistics, p, d_residual.clone(), {b[0], true},
        {p.bias.defined() ? b[1] : at::Tensor(), true}, {b[2], true});
    expect_close(e, wide(d), 1e3, what);
    expect_close(b[0], wide(a[0]) + 1, 1e5, what);
    if (p.bias.defined()) expect_close(b[1], wide(a[1]) + 1, 1e5, what);
    expect_close(b[2], wide(a[2]) + 1, 1e5, what);
  });
}

TEST(Norm, ThreadsDoNotChangeABit) {
  const int before = at::get_num_threads();
  for (const at::ScalarType type : kTypes) {
    const NormParameters p = parameters_of(Normalization::kLayerNorm, 384, type);
    const at::Tensor x = random({700, 384}, type);
    const at::Tensor dy = random({700, 384}, type);
    std::vector<at::Tensor> first;
    for (const int threads : {1, 2, 3, 5}) {
      at::set_num_threads(threads);
      const AddNorm forward = add_norm(x, dy, {}, p);
      const at::Tensor sums = at::zeros({3, 384}, at::TensorOptions(gradient_type(type)));
      const at::Tensor d = add_norm_backward(dy, forward.sum, forward.statistics, p, {},
                                             {sums[0], false}, {sums[1], false}, {sums[2], false});
      const std::vector<at::Tensor> all = {forward.sum, forward.normalized, d, sums};
      if (first.empty()) first = all;
      for (std::size_t i = 0; i < all.size(); ++i)
        EXPECT_TRUE(all[i].equal(first[i])) << threads << " threads, result " << i;
    }
  }
  at::set_num_threads(before);
}

TEST(Norm, NotANumberStaysInItsRow) {
  const NormParameters p = parameters_of(Normalization::kLayerNorm, 40, at::kFloat);
  const at::Tensor x = random({6, 40}, at::kFloat);
  x[2][5] = std::nanf("");
  const at::Tensor bad = add_norm(x, {}, {}, p).normalized.isnan().sum(1);
  for (int row = 0; row < 6; ++row) EXPECT_EQ(bad[row].item<std::int64_t>(), row == 2 ? 40 : 0);
}

}  // namespace
}  // namespace cuboid
