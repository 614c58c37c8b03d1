// The CUDA kernels against plain formulas in fp64, at many shapes and types. Two programs include
// this: one runs the kernels' source under an emulator on the host, one on a GPU.
#pragma once

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/isneginf.h>
#include <ATen/ops/logical_not.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "../../src/kernels/activation_launch.hpp"
#include "../../src/kernels/column_sums_launch.hpp"
#include "../../src/kernels/flat_launch.hpp"
#include "../../src/kernels/norm_launch.hpp"
#include "../../src/kernels/vocabulary_launch.hpp"

namespace cuboid::test {

// Where the kernels run, and their stream (a cudaStream_t). The including program defines them.
at::Device kernel_device();
void* kernel_stream();

enum class Start : unsigned char { kAligned, kOdd };  // kOdd: no vector of 16 bytes fits

// A tensor with these values on the kernels' device.
inline at::Tensor placed(const at::Tensor& values, Start start = Start::kAligned) {
  const auto options = values.options().device(kernel_device());
  const std::int64_t shift = start == Start::kOdd ? 1 : 0;
  at::Tensor to = at::empty({values.numel() + shift}, options).narrow(0, shift, values.numel());
  to.copy_(values.reshape({-1}));
  return to.view(values.sizes());
}
inline at::Tensor random(at::IntArrayRef shape, at::ScalarType type,
                         Start start = Start::kAligned) {
  return placed(at::randn(shape).to(type), start);
}
// What nothing has written yet.
inline at::Tensor unwritten(at::IntArrayRef shape, at::ScalarType type,
                            Start start = Start::kAligned) {
  return placed(at::full(shape, -777.0, type), start);
}
inline at::Tensor wide(const at::Tensor& x) {
  return x.cpu().to(at::kDouble);
}
inline DType dtype_of(at::ScalarType type) {
  return type == at::kBFloat16 ? DType::kBFloat16 : DType::kFloat32;
}
template <typename T>
T* pointer(const at::Tensor& x) {
  return x.defined() ? static_cast<T*>(x.mutable_data_ptr()) : nullptr;
}

// Every element within the type's rounding (2^-8 of it in bf16), and an error of fp32 sums relative
// to the largest element.
inline void expect_close(const at::Tensor& actual, const at::Tensor& expected, const char* what) {
  const double relative = actual.scalar_type() == at::kBFloat16 ? 1.0 / 256 : 4e-6;
  const at::Tensor reference = expected.to(at::kDouble);
  const at::Tensor bound = reference.abs() * relative + reference.abs().max() * 1e-5 + 1e-30;
  const at::Tensor error = (wide(actual) - reference.view(actual.sizes())).abs();
  const at::Tensor wrong = at::logical_not(error <= bound.view(actual.sizes()));  // NaN is wrong
  EXPECT_EQ(wrong.sum().item<std::int64_t>(), 0)
      << what << ": largest error " << error.max().item<double>() << " of "
      << reference.abs().max().item<double>();
}

struct Case {
  at::ScalarType type;
  Start start;
};
inline const std::vector<Case> kCases = {{at::kFloat, Start::kAligned},
                                         {at::kFloat, Start::kOdd},
                                         {at::kBFloat16, Start::kAligned},
                                         {at::kBFloat16, Start::kOdd}};

class Kernels : public testing::Test {
 protected:
  void SetUp() override {
    if (kernel_device().is_cpu()) return;
    if (!is_available()) GTEST_SKIP() << "no CUDA device";
  }
  static bool is_available();
};

// The sum of partial sums by the kernel for it, over or on top of `before`.
inline at::Tensor added_up(const at::Tensor& partial, const at::Tensor& before, bool accumulate) {
  const at::Tensor target = placed(before);
  const detail::PartialSums sums[3] = {
      {pointer<float>(partial), pointer<float>(target), accumulate}, {}, {}};
  detail::launch_add_partials(sums, partial.size(0), partial.size(1), kernel_stream());
  return target;
}

// ---- Norms -------------------------------------------------------------------------------------

struct NormReference {
  at::Tensor sum, mean, rstd, normalized;
};

inline void check_norm(Case it, bool has_mean, bool has_delta, std::int64_t rows,
                       std::int64_t width) {
  SCOPED_TRACE(testing::Message() << rows << " x " << width << " mean " << has_mean << " delta "
                                  << has_delta << " " << it.type << " odd "
                                  << (it.start == Start::kOdd));
  constexpr double kEpsilon = 1e-5;
  const at::Tensor residual = random({rows, width}, it.type, it.start);
  const at::Tensor delta = has_delta ? random({rows, width}, it.type, it.start) : at::Tensor();
  const at::Tensor delta_bias = has_delta ? random({width}, it.type) : at::Tensor();
  const at::Tensor weight = random({width}, it.type);
  const at::Tensor bias = has_mean ? random({width}, it.type) : at::Tensor();
  const at::Tensor sum = has_delta ? unwritten({rows, width}, it.type) : residual;
  const at::Tensor normalized = unwritten({rows, width}, it.type);
  const at::Tensor mean = unwritten({rows}, at::kFloat);
  const at::Tensor rstd = unwritten({rows}, at::kFloat);
  detail::launch_add_norm({.type = dtype_of(it.type),
                           .has_mean = has_mean,
                           .rows = rows,
                           .width = width,
                           .epsilon = kEpsilon,
                           .residual = pointer<void>(residual),
                           .delta = pointer<void>(delta),
                           .delta_bias = pointer<void>(delta_bias),
                           .weight = pointer<void>(weight),
                           .bias = pointer<void>(bias),
                           .sum = pointer<void>(sum),
                           .normalized = pointer<void>(normalized),
                           .mean = pointer<float>(mean),
                           .rstd = pointer<float>(rstd)},
                          kernel_stream());
  if (has_delta) expect_close(sum, wide(residual) + wide(delta) + wide(delta_bias), "sum");

  const at::Tensor x = wide(sum);
  const at::Tensor center = has_mean ? x.mean(1, true) : at::zeros({rows, 1}, at::kDouble);
  const at::Tensor scale = ((x - center).square().mean(1, true) + kEpsilon).rsqrt();
  const at::Tensor hat = (x - center) * scale;
  at::Tensor y = hat * wide(weight);
  if (has_mean) {
    y = y + wide(bias);
    expect_close(mean, center, "mean");
  }
  expect_close(rstd, scale, "rstd");
  expect_close(normalized, y, "normalized");

  const at::Tensor dy = random({rows, width}, it.type, it.start);
  const at::Tensor d_residual = has_delta ? random({rows, width}, it.type, it.start) : at::Tensor();
  // In the gradient's memory, as the model has it.
  const at::Tensor before = has_delta ? wide(d_residual) : at::zeros({rows, width}, at::kDouble);
  const at::Tensor d_sum = has_delta ? d_residual : unwritten({rows, width}, it.type);
  detail::AddNormBackwardLaunch back{.type = dtype_of(it.type),
                                     .has_mean = has_mean,
                                     .rows = rows,
                                     .width = width,
                                     .dy = pointer<void>(dy),
                                     .sum = pointer<void>(sum),
                                     .weight = pointer<void>(weight),
                                     .d_residual = pointer<void>(d_residual),
                                     .mean = pointer<float>(mean),
                                     .rstd = pointer<float>(rstd),
                                     .d_sum = pointer<void>(d_sum),
                                     .weight_partial = nullptr,
                                     .bias_partial = nullptr,
                                     .delta_bias_partial = nullptr};
  const at::Tensor partial = unwritten({3, detail::norm_parts(back), width}, at::kFloat);
  back.weight_partial = pointer<float>(partial[0]);
  if (has_mean) back.bias_partial = pointer<float>(partial[1]);
  back.delta_bias_partial = pointer<float>(partial[2]);
  detail::launch_add_norm_backward(back, kernel_stream());

  const at::Tensor g = wide(dy) * wide(weight);
  at::Tensor dx = g - hat * (g * hat).mean(1, true);
  if (has_mean) dx = dx - g.mean(1, true);
  dx = dx * scale + before;
  expect_close(d_sum, dx, "d_sum");
  const at::Tensor old = at::randn({width});
  expect_close(added_up(partial[0], old, false), (wide(dy) * hat).sum(0), "weight");
  if (has_mean) expect_close(added_up(partial[1], old, true), wide(dy).sum(0) + wide(old), "bias");
  expect_close(added_up(partial[2], old, false), dx.sum(0), "delta_bias");
}

TEST_F(Kernels, Norms) {
  at::manual_seed(1);
  for (const Case& it : kCases) {
    for (const std::int64_t width : {7, 32, 128}) {
      check_norm(it, true, true, 37, width);
      check_norm(it, false, false, 5, width);
    }
    for (const std::int64_t width : {768, 1000, 1002})
      check_norm(it, width != 1000, true, 5, width);
    if (it.start == Start::kOdd) {
      check_norm(it, true, true, 3, 2048);
      continue;
    }
    for (const std::int64_t width : {1600, 2056, 4096, 5120, 8192})
      check_norm(it, width != 4096, true, 3, width);
  }
}

// More rows than blocks take at a time, each of two warps: blocks come round again and use their
// shared memory anew.
TEST_F(Kernels, NormsOfManyRows) {
  at::manual_seed(2);
  check_norm({at::kBFloat16, Start::kAligned}, true, true, 2200, 264);
}

// ---- Activations -------------------------------------------------------------------------------

const std::vector<std::pair<std::int64_t, std::int64_t>> kShapes = {
    {1, 1}, {3, 5}, {37, 256}, {70, 264}, {5, 1030}, {1100, 8}};

inline at::Tensor gelu_reference(const at::Tensor& x) {
  return x * at::sigmoid(1.5957691216057307 * (x + 0.044715 * x.pow(3)));
}

TEST_F(Kernels, Gelu) {
  at::manual_seed(3);
  for (const Case& it : kCases) {
    for (const auto& [rows, width] : kShapes) {
      for (const bool has_bias : {true, false}) {
        SCOPED_TRACE(testing::Message() << rows << " x " << width << " bias " << has_bias);
        const at::Tensor inner = placed((3 * at::randn({rows, width})).to(it.type), it.start);
        const at::Tensor bias = has_bias ? random({width}, it.type) : at::Tensor();
        const at::Tensor activated = unwritten({rows, width}, it.type);
        const at::Tensor x = has_bias ? wide(inner) + wide(bias) : wide(inner);
        detail::launch_bias_gelu({dtype_of(it.type), rows, width, pointer<void>(inner),
                                  pointer<void>(bias), pointer<void>(activated)},
                                 kernel_stream());
        expect_close(inner, x, "inner");
        expect_close(activated, gelu_reference(wide(inner)), "activated");

        const at::Tensor gradient = random({rows, width}, it.type, it.start);
        const at::Tensor dy = wide(gradient);
        const at::Tensor partial = unwritten({detail::num_chunks(rows), width}, at::kFloat);
        detail::launch_gelu_backward(
            {dtype_of(it.type), rows, width, pointer<void>(gradient), pointer<void>(inner),
             has_bias ? pointer<float>(partial) : nullptr},
            kernel_stream());
        const at::Tensor z = wide(inner);
        const at::Tensor s = at::sigmoid(1.5957691216057307 * (z + 0.044715 * z.pow(3)));
        const at::Tensor slope =
            s + z * s * (1 - s) * 1.5957691216057307 * (1 + 3 * 0.044715 * z.square());
        expect_close(gradient, dy * slope, "gradient");
        if (has_bias)
          expect_close(added_up(partial, at::zeros({width}), false), (dy * slope).sum(0), "bias");
      }
    }
  }
}

TEST_F(Kernels, ExtremesOfGeluAndSwiglu) {
  const std::vector<float> values = {-3e38F, -1e4F, -90.0F, -10.0F, -0.0F, 0.0F,
                                     1e-30F, 10.0F, 90.0F,  1e4F,   3e38F, -1e-30F};
  const at::Tensor x = at::tensor(values).view({1, -1});
  const std::int64_t width = x.size(1);
  const at::Tensor inner = placed(x);
  const at::Tensor activated = unwritten({1, width}, at::kFloat);
  detail::launch_bias_gelu(
      {DType::kFloat32, 1, width, pointer<void>(inner), nullptr, pointer<void>(activated)},
      kernel_stream());
  expect_close(activated.clamp(-1e5, 1e5), x.clamp(0, 1e5), "gelu");
  const at::Tensor gate_and_up = placed(at::cat({x, at::ones({1, width})}, 1));
  detail::SwigluLaunch swiglu{.type = DType::kFloat32,
                              .rows = 1,
                              .width = width,
                              .inner = pointer<void>(gate_and_up),
                              .activated = pointer<void>(activated),
                              .d_activated = nullptr,
                              .d_inner = nullptr};
  detail::launch_swiglu(swiglu, kernel_stream());
  EXPECT_TRUE(at::isfinite(activated.cpu()).all().item<bool>());
}

TEST_F(Kernels, Swiglu) {
  at::manual_seed(4);
  for (const Case& it : kCases) {
    for (const auto& [rows, width] : kShapes) {
      SCOPED_TRACE(testing::Message() << rows << " x " << width);
      const at::Tensor inner = random({rows, 2 * width}, it.type, it.start);
      const at::Tensor d_activated = random({rows, width}, it.type, it.start);
      const at::Tensor activated = unwritten({rows, width}, it.type);
      const at::Tensor d_inner = unwritten({rows, 2 * width}, it.type);
      const detail::SwigluLaunch launch{.type = dtype_of(it.type),
                                        .rows = rows,
                                        .width = width,
                                        .inner = pointer<void>(inner),
                                        .activated = pointer<void>(activated),
                                        .d_activated = pointer<void>(d_activated),
                                        .d_inner = pointer<void>(d_inner)};
      detail::launch_swiglu(launch, kernel_stream());
      detail::launch_swiglu_backward(launch, kernel_stream());
      const at::Tensor gate = wide(inner).narrow(1, 0, width);
      const at::Tensor up = wide(inner).narrow(1, width, width);
      const at::Tensor dy = wide(d_activated);
      const at::Tensor s = at::sigmoid(gate);
      expect_close(activated, gate * s * up, "activated");
      expect_close(d_inner, at::cat({dy * up * s * (1 + gate * (1 - s)), dy * gate * s}, 1),
                   "d_inner");
    }
  }
}

TEST_F(Kernels, ColumnSums) {
  at::manual_seed(5);
  for (const Case& it : kCases) {
    for (const auto& [rows, width] : kShapes) {
      SCOPED_TRACE(testing::Message() << rows << " x " << width);
      const at::Tensor x = random({rows, width}, it.type, it.start);
      const at::Tensor partial = unwritten({detail::num_chunks(rows), width}, at::kFloat);
      detail::launch_column_sums(dtype_of(it.type), pointer<void>(x), rows, width,
                                 pointer<float>(partial), kernel_stream());
      const at::Tensor before = at::randn({width});
      expect_close(added_up(partial, before, true), wide(x).sum(0) + wide(before), "sums");
    }
  }
}

TEST_F(Kernels, Rotation) {
  at::manual_seed(6);
  constexpr std::int64_t kSequences = 2;
  constexpr std::int64_t kSeq = 5;
  for (const Case& it : kCases) {
    for (const std::int64_t half : {1, 3, 16, 64}) {
      for (const bool forwards : {true, false}) {
        constexpr std::int64_t kAll = 7;  // heads of a token, of which the first turn
        constexpr std::int64_t kTurning = 5;
        const at::Tensor x = random({kSequences, kSeq, kAll, 2 * half}, it.type, it.start);
        const at::Tensor before = wide(x);
        const at::Tensor angle = at::randn({kSeq, half});
        const at::Tensor cosines = placed(angle.cos());
        const at::Tensor sines = placed(angle.sin());
        detail::launch_rotate({.type = dtype_of(it.type),
                               .sequences = kSequences,
                               .seq_length = kSeq,
                               .heads = kTurning,
                               .half = half,
                               .sequence_stride = x.stride(0),
                               .position_stride = x.stride(1),
                               .head_stride = x.stride(2),
                               .x = pointer<void>(x),
                               .cosines = pointer<float>(cosines),
                               .sines = pointer<float>(sines),
                               .forwards = forwards},
                              kernel_stream());
        const at::Tensor c = wide(cosines).view({1, kSeq, 1, half});
        const at::Tensor s = wide(sines).view({1, kSeq, 1, half}) * (forwards ? 1 : -1);
        const at::Tensor expected = before.clone();
        const at::Tensor low = before.narrow(2, 0, kTurning).narrow(3, 0, half);
        const at::Tensor high = before.narrow(2, 0, kTurning).narrow(3, half, half);
        expected.narrow(2, 0, kTurning).narrow(3, 0, half).copy_(low * c - high * s);
        expected.narrow(2, 0, kTurning).narrow(3, half, half).copy_(high * c + low * s);
        SCOPED_TRACE(testing::Message() << "half " << half << " forwards " << forwards);
        expect_close(x, expected, "turned");
      }
    }
  }
}

// ---- Vocabulary --------------------------------------------------------------------------------

TEST_F(Kernels, CrossEntropy) {
  at::manual_seed(7);
  constexpr std::int64_t kRows = 6;
  constexpr double kScale = 0.25;
  for (const Case& it : kCases) {
    for (const auto& [columns, pitch] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {1, 1}, {13, 16}, {500, 512}, {5000, 5000}, {17001, 17008}, {0, 8}}) {
      SCOPED_TRACE(testing::Message() << columns << " of " << pitch);
      constexpr std::int64_t kFirst = 100;  // rows of the vocabulary before these
      at::Tensor values = 5 * at::randn({kRows, pitch});
      values.narrow(1, columns, pitch - columns).fill_(1e6);  // padding, never to be seen
      const at::Tensor logits = placed(values.to(it.type), it.start);
      const at::Tensor before = wide(logits).narrow(1, 0, columns);
      // The first rows' targets are other ranks'.
      std::vector<std::int64_t> ids = {0,
                                       kFirst + columns,
                                       kFirst,
                                       kFirst + columns - 1,
                                       kFirst + columns / 2,
                                       kFirst + columns / 3};
      const at::Tensor targets = placed(at::tensor(ids, at::kLong));
      const at::Tensor maximum = unwritten({kRows}, at::kFloat);
      const at::Tensor sum = unwritten({kRows}, at::kFloat);
      const at::Tensor target_logit = unwritten({kRows}, at::kFloat);
      const detail::CrossEntropyLaunch launch{.type = dtype_of(it.type),
                                              .rows = kRows,
                                              .pitch = pitch,
                                              .columns = columns,
                                              .first = kFirst,
                                              .logits = pointer<void>(logits),
                                              .targets = pointer<std::int64_t>(targets),
                                              .maximum = pointer<float>(maximum),
                                              .sum = pointer<float>(sum),
                                              .target_logit = pointer<float>(target_logit),
                                              .losses = nullptr,
                                              .scale = kScale};
      detail::launch_cross_entropy_rows(launch, kernel_stream());
      if (columns == 0) {
        EXPECT_TRUE(at::isneginf(maximum.cpu()).all().item<bool>());
        EXPECT_EQ(sum.cpu().abs().max().item<float>(), 0.0F);
        EXPECT_EQ(target_logit.cpu().abs().max().item<float>(), 0.0F);
        continue;
      }
      const at::Tensor highest = before.amax(1, true);
      const at::Tensor exponentials = (before - highest).exp();
      expect_close(maximum, highest, "maximum");
      expect_close(sum, exponentials.sum(1), "sum");
      at::Tensor one_hot = at::zeros({kRows, pitch}, at::kDouble);
      for (std::int64_t row = 0; row < kRows; ++row) {
        const std::int64_t column = ids[static_cast<std::size_t>(row)] - kFirst;
        if (column >= 0 && column < columns) one_hot[row][column] = 1.0;
      }
      const at::Tensor mine = one_hot.narrow(1, 0, columns);
      expect_close(target_logit, (before * mine).sum(1), "target's logit");
      detail::launch_cross_entropy_gradient(launch, kernel_stream());
      at::Tensor expected = at::zeros({kRows, pitch}, at::kDouble);
      expected.narrow(1, 0, columns)
          .copy_((exponentials / exponentials.sum(1, true) - mine) * kScale);
      expect_close(logits, expected, "gradient");
    }
  }
}

// The whole vocabulary: loss and gradient at once.
TEST_F(Kernels, CrossEntropyOfOneRank) {
  at::manual_seed(11);
  constexpr std::int64_t kRows = 3;
  constexpr std::int64_t kColumns = 17001;
  constexpr std::int64_t kPitch = 17008;
  for (const Case& it : kCases) {
    for (const double scale : {0.25, 0.0}) {
      const at::Tensor values = 5 * at::randn({kRows, kPitch});
      const at::Tensor logits = placed(values.to(it.type), it.start);
      const at::Tensor before = wide(logits).clone();
      const at::Tensor ids = at::tensor({0L, kColumns - 1, 77L});
      const at::Tensor targets = placed(ids);
      const at::Tensor losses = unwritten({kRows}, at::kDouble);
      detail::launch_cross_entropy({.type = dtype_of(it.type),
                                    .rows = kRows,
                                    .pitch = kPitch,
                                    .columns = kColumns,
                                    .first = 0,
                                    .logits = pointer<void>(logits),
                                    .targets = pointer<std::int64_t>(targets),
                                    .maximum = nullptr,
                                    .sum = nullptr,
                                    .target_logit = nullptr,
                                    .losses = pointer<double>(losses),
                                    .scale = scale},
                                   kernel_stream());
      const at::Tensor real = before.narrow(1, 0, kColumns);
      const at::Tensor log_sum = real.logsumexp(1);
      const at::Tensor mine = real.gather(1, ids.unsqueeze(1)).squeeze(1);
      expect_close(losses, log_sum - mine, "losses");
      at::Tensor expected = before;
      if (scale != 0.0) {
        expected = at::zeros({kRows, kPitch}, at::kDouble);
        expected.narrow(1, 0, kColumns).copy_((real - log_sum.unsqueeze(1)).exp());
        expected.scatter_add_(1, ids.unsqueeze(1), at::full({kRows, 1}, -1.0, at::kDouble));
        expected.mul_(scale);
      }
      expect_close(logits, expected, "gradient");
    }
  }
}

TEST_F(Kernels, LogitsThatAreNotFinite) {
  const float infinity = std::numeric_limits<float>::infinity();
  const at::Tensor logits = placed(at::tensor({-infinity, -infinity, 1.0F, -infinity,  //
                                               NAN, 0.0F, 1.0F, 2.0F,                  //
                                               infinity, 0.0F, 1.0F, 2.0F})
                                       .view({3, 4}));
  const at::Tensor targets = placed(at::full({3}, 2, at::kLong));
  const at::Tensor maximum = unwritten({3}, at::kFloat);
  const at::Tensor sum = unwritten({3}, at::kFloat);
  const at::Tensor target_logit = unwritten({3}, at::kFloat);
  detail::launch_cross_entropy_rows(
      {DType::kFloat32, 3, 4, 4, 0, pointer<void>(logits), pointer<std::int64_t>(targets),
       pointer<float>(maximum), pointer<float>(sum), pointer<float>(target_logit), nullptr, 1.0},
      kernel_stream());
  const at::Tensor sums = sum.cpu();
  EXPECT_EQ(sums[0].item<float>(), 1.0F);
  EXPECT_TRUE(std::isnan(sums[1].item<float>())) << "a run that diverges must see it";
  EXPECT_TRUE(std::isnan(sums[2].item<float>()));
}

TEST_F(Kernels, Embedding) {
  at::manual_seed(8);
  constexpr std::int64_t kSequences = 3;
  constexpr std::int64_t kSeq = 7;
  constexpr std::int64_t kTokens = kSequences * kSeq;
  constexpr std::int64_t kFirst = 4;
  constexpr std::int64_t kRows = 6;  // of the vocabulary's 12
  for (const Case& it : kCases) {
    for (const std::int64_t width : {1, 40, 513, 768}) {
      SCOPED_TRACE(testing::Message() << "width " << width);
      const at::Tensor weight = random({kRows, width}, it.type, it.start);
      const at::Tensor positions = random({kSeq, width}, it.type, it.start);
      const at::Tensor ids = at::randint(0, 12, {kTokens}, at::kLong);
      const at::Tensor y = unwritten({kTokens, width}, it.type);
      detail::launch_embedding({dtype_of(it.type), kTokens, width, kFirst, kRows, kSeq,
                                pointer<std::int64_t>(placed(ids)), pointer<void>(weight),
                                pointer<void>(positions), pointer<void>(y)},
                               kernel_stream());
      const at::Tensor rows = ids - kFirst;
      const at::Tensor is_here = (rows >= 0).logical_and(rows < kRows);
      const at::Tensor one_hot = at::zeros({kTokens, kRows}, at::kDouble)
                                     .scatter_(1, rows.clamp(0, kRows - 1).unsqueeze(1),
                                               is_here.to(at::kDouble).unsqueeze(1));
      const at::Tensor at_position = wide(positions).repeat({kSequences, 1});
      expect_close(y, one_hot.matmul(wide(weight)) + at_position, "embedded");

      const at::Tensor dy = random({kTokens, width}, it.type, it.start);
      const auto [sorted, order] =
          at::sort(ids, std::optional<bool>(true), /*dim=*/0, /*descending=*/false);
      const at::Tensor before = at::randn({kRows, width});
      const at::Tensor gradient = placed(before);
      detail::launch_add_rows(
          {dtype_of(it.type), kTokens, width, kFirst, kRows, pointer<std::int64_t>(placed(sorted)),
           pointer<std::int64_t>(placed(order)), pointer<void>(dy), pointer<float>(gradient)},
          kernel_stream());
      expect_close(gradient, wide(before) + one_hot.t().matmul(wide(dy)), "rows");

      for (const bool accumulate : {true, false}) {
        const at::Tensor old = at::randn({kSeq, width});
        const at::Tensor d_positions = placed(old);
        detail::launch_add_positions({dtype_of(it.type), kSequences, kSeq, width, pointer<void>(dy),
                                      pointer<float>(d_positions), accumulate},
                                     kernel_stream());
        const at::Tensor sum = wide(dy).view({kSequences, kSeq, width}).sum(0);
        expect_close(d_positions, accumulate ? sum + wide(old) : sum, "positions");
      }
    }
  }
}

// ---- Flat buffers ------------------------------------------------------------------------------

TEST_F(Kernels, AdamW) {
  at::manual_seed(9);
  for (const Start start : {Start::kAligned, Start::kOdd}) {
    for (const auto& [count, decaying] :
         std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 0}, {4096, 1024}, {5003, 1001}}) {
      const at::Tensor theta = random({count}, at::kFloat, start);
      const at::Tensor m = random({count}, at::kFloat, start);
      const at::Tensor v = placed(at::rand({count}), start);
      const at::Tensor gradient = random({count}, at::kFloat, start);
      const at::Tensor values = unwritten({count}, at::kBFloat16, start);
      constexpr double kRate = 1e-2;
      constexpr double kDecay = 0.1;
      constexpr double kBeta1 = 0.9;
      constexpr double kBeta2 = 0.95;
      constexpr double kEpsilon = 1e-8;
      constexpr double kScale = 0.5;
      constexpr int kStep = 3;
      const double correction1 = 1 - std::pow(kBeta1, kStep);
      const double root2 = std::sqrt(1 - std::pow(kBeta2, kStep));
      const at::Tensor g = wide(gradient) * kScale;
      const at::Tensor new_m = wide(m) * kBeta1 + g * (1 - kBeta1);
      const at::Tensor new_v = wide(v) * kBeta2 + g.square() * (1 - kBeta2);
      at::Tensor expected = wide(theta);
      expected.narrow(0, 0, decaying).mul_(1 - kRate * kDecay);
      expected = expected - kRate / correction1 * new_m / (new_v.sqrt() / root2 + kEpsilon);
      detail::launch_adamw({.count = count,
                            .num_decaying = decaying,
                            .master = pointer<float>(theta),
                            .exp_avg = pointer<float>(m),
                            .exp_avg_sq = pointer<float>(v),
                            .gradient = pointer<float>(gradient),
                            .values = pointer<void>(values),
                            .gradient_scale = kScale,
                            .beta1 = kBeta1,
                            .beta2 = kBeta2,
                            .epsilon = kEpsilon,
                            .decay = static_cast<float>(1 - kRate * kDecay),
                            .step_size = static_cast<float>(kRate / correction1),
                            .root_correction2 = static_cast<float>(root2)},
                           kernel_stream());
      expect_close(theta, expected, "master");
      expect_close(m, new_m, "exp_avg");
      expect_close(v, new_v, "exp_avg_sq");
      EXPECT_TRUE(at::equal(values.cpu(), theta.cpu().to(at::kBFloat16))) << "rounded from master";
    }
  }
}

TEST_F(Kernels, SumOfSquares) {
  at::manual_seed(10);
  const at::Tensor flat = random({200003}, at::kFloat);
  detail::RangesLaunch ranges;
  ranges.flat = pointer<float>(flat);
  double expected = 0;
  const at::Tensor all = wide(flat).square();
  for (const auto& [begin, end] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {0, 1}, {16, 32768 + 16}, {40001, 40004}, {50001, 150003}, {160000, 200003}}) {
    ASSERT_TRUE(ranges.add(begin, end));
    expected += all.narrow(0, begin, end - begin).sum().item<double>();
  }
  const at::Tensor partial = unwritten({ranges.num_blocks()}, at::kDouble);
  const at::Tensor total = unwritten({1}, at::kDouble);
  ranges.partial = pointer<double>(partial);
  detail::launch_squares(ranges, kernel_stream());
  detail::launch_total(ranges.partial, ranges.num_blocks(), pointer<double>(total),
                       kernel_stream());
  EXPECT_NEAR(total.cpu().item<double>(), expected, 1e-12 * expected);
}

}  // namespace cuboid::test
