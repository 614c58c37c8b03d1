// ranks: 1
// Causal attention and its gradient against the formulas in fp64, written out with LibTorch's
// plainest operations, at many shapes and types.
#include "cuboid/kernels/attention.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "../../src/kernels/attention_heads.hpp"

namespace cuboid {
namespace {

struct Reference {
  at::Tensor output, log_sum_exp, d_qkv;  // fp64
};

// One head after the other: softmax(q k^T) v, and its gradient by the chain rule.
Reference refer(const at::Tensor& qkv, const at::Tensor& d_output, const AttentionShape& shape) {
  const auto heads_of = [&](const at::Tensor& x, std::int64_t count) {
    return x.to(at::kDouble).view({shape.sequences, shape.seq, count, shape.head_dim});
  };
  const at::Tensor all = heads_of(qkv, shape.heads + 2 * shape.kv_heads);
  const at::Tensor d_out = heads_of(d_output, shape.heads);
  const double scale = 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
  const at::Tensor hidden = at::ones({shape.seq, shape.seq}, at::kDouble).triu(1).to(at::kBool);
  Reference result{at::empty_like(d_out),
                   at::empty({shape.sequences, shape.heads, shape.seq}, at::kDouble),
                   at::zeros_like(all)};
  for (std::int64_t s = 0; s < shape.sequences; ++s)
    for (std::int64_t h = 0; h < shape.heads; ++h) {
      const std::int64_t key = shape.heads + h / (shape.heads / shape.kv_heads);
      const std::int64_t value = key + shape.kv_heads;
      const auto part = [&](const at::Tensor& x, std::int64_t head) {
        return x.select(0, s).select(1, head);
      };
      const at::Tensor q = part(all, h), k = part(all, key), v = part(all, value);
      const at::Tensor d_o = part(d_out, h);
      const at::Tensor scores = (at::matmul(q, k.t()) * scale)
                                    .masked_fill(hidden, -std::numeric_limits<double>::infinity());
      const at::Tensor weights = at::softmax(scores, 1);
      part(result.output, h).copy_(at::matmul(weights, v));
      result.log_sum_exp.select(0, s).select(0, h).copy_(at::logsumexp(scores, 1));
      const at::Tensor d_weights = at::matmul(d_o, v.t());
      const at::Tensor d_scores =
          weights * (d_weights - (d_weights * weights).sum(1, /*keepdim=*/true)) * scale;
      part(result.d_qkv, h).add_(at::matmul(d_scores, k));
      part(result.d_qkv, key).add_(at::matmul(d_scores.t(), q));
      part(result.d_qkv, value).add_(at::matmul(weights.t(), d_o));
    }
  result.output = result.output.view({qkv.size(0), -1});
  result.d_qkv = result.d_qkv.view({qkv.size(0), -1});
  return result;
}

// Largest difference over the largest number: what a rounding of fp32 (of bf16, at the end) makes,
// `roughness` times.
void expect_near(const at::Tensor& x, const at::Tensor& expected, at::ScalarType type,
                 double roughness, const char* what) {
  const double allowed = type == at::kDouble ? 1e-13 : (type == at::kFloat ? 3e-6 : 8e-3);
  const double size = expected.abs().max().item<double>();
  const double difference = (x.to(at::kDouble) - expected).abs().max().item<double>();
  EXPECT_LE(difference, allowed * roughness * size) << what;
}

class AttentionTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  static at::Tensor random(std::int64_t rows, std::int64_t width, double spread = 1.0) {
    return (at::randn({rows, width}, at::kDouble) * spread).to(GetParam());
  }

  static void check(const AttentionShape& shape, double spread = 1.0) {
    SCOPED_TRACE(testing::Message() << shape.sequences << " x " << shape.seq << ", " << shape.heads
                                    << " heads on " << shape.kv_heads << " of " << shape.head_dim);
    const std::int64_t tokens = shape.sequences * shape.seq;
    const at::Tensor qkv = random(tokens, shape.width(), spread);
    const at::Tensor d_output = random(tokens, shape.heads * shape.head_dim);
    const AttentionResult result = causal_attention(qkv, shape);
    Reference expected = refer(qkv, d_output, shape);
    // A weight is exp(score - sum): what rounding leaves of it grows with the scores.
    const double scores = expected.log_sum_exp.abs().max().item<double>();
    const double roughness = spread > 1.0 ? 1.0 + scores : 1.0;
    expect_near(result.output, expected.output, GetParam(), roughness, "output");
    // The log of a sum is kept in fp32 for bf16, too.
    expect_near(result.log_sum_exp, expected.log_sum_exp,
                GetParam() == at::kDouble ? at::kDouble : at::kFloat, 1.0, "log of the sum");
    expect_near(causal_attention_backward(d_output, qkv, result, shape), expected.d_qkv, GetParam(),
                roughness, "gradient");
  }
};

TEST_P(AttentionTest, ManyShapes) {
  for (const AttentionShape& shape : std::vector<AttentionShape>{{1, 1, 1, 1, 1},
                                                                 {2, 6, 4, 4, 4},
                                                                 {2, 6, 4, 2, 4},
                                                                 {3, 17, 3, 1, 10},
                                                                 {2, 64, 4, 4, 32},
                                                                 {1, 65, 6, 2, 48},
                                                                 {1, 200, 2, 2, 64},
                                                                 {1, 33, 1, 1, 128},
                                                                 {1, 130, 2, 1, 80},
                                                                 {11, 9, 12, 4, 6}}) {
    check(shape);
  }
}

TEST_P(AttentionTest, SharpAndFlatScores) {
  check({1, 70, 2, 2, 32}, 30.0);  // scores of hundreds: one key takes all
  check({1, 70, 2, 2, 32}, 0.0);   // all alike
}

// Tiles differ between instruction sets, so every one that this processor has is held to the best.
TEST_P(AttentionTest, EveryInstructionSet) {
  const auto best = detail::best_instruction_set();
  for (const AttentionShape& shape :
       std::vector<AttentionShape>{{2, 6, 4, 2, 4}, {2, 64, 4, 4, 32}, {1, 77, 2, 1, 24}}) {
    const std::int64_t tokens = shape.sequences * shape.seq;
    const at::Tensor qkv = random(tokens, shape.width());
    const at::Tensor d_output = random(tokens, shape.heads * shape.head_dim);
    const AttentionResult expected = causal_attention(qkv, shape);
    const at::Tensor expected_gradient =
        causal_attention_backward(d_output, qkv, expected, shape).to(at::kDouble);
    for (auto set = detail::InstructionSet::kAny; set < best;
         set = static_cast<detail::InstructionSet>(static_cast<int>(set) + 1)) {
      SCOPED_TRACE(testing::Message()
                   << "set " << static_cast<int>(set) << ", width " << shape.head_dim);
      const AttentionResult result{at::zeros_like(expected.output),
                                   at::zeros_like(expected.log_sum_exp)};
      const at::Tensor gradient = at::zeros_like(qkv);
      const auto run = [&]<typename T>() {
        using W = detail::Wide<T>;
        const auto data = [](const at::Tensor& x) { return static_cast<T*>(x.mutable_data_ptr()); };
        auto* log_sum_exp = static_cast<W*>(result.log_sum_exp.mutable_data_ptr());
        const std::int64_t heads = shape.sequences * shape.heads;
        const at::Tensor of_heads =
            at::empty({heads, 2, shape.seq, shape.head_dim}, c10::CppTypeToScalarType<W>::value);
        W* shared = shape.heads > shape.kv_heads ? of_heads.mutable_data_ptr<W>() : nullptr;
        const std::int64_t pieces = 3;
        detail::attend<T>({shape, data(qkv), data(result.output), log_sum_exp, pieces}, 0,
                          heads * pieces, set);
        const detail::AttentionBackward<T> backward{
            shape,          data(qkv), data(result.output), log_sum_exp, data(d_output),
            data(gradient), shared};
        detail::attend_backward(backward, 0, heads, set);
        if (shared != nullptr) detail::add_shared(backward, 0, tokens);
      };
      switch (GetParam()) {
        case at::kFloat: run.template operator()<float>(); break;
        case at::kDouble: run.template operator()<double>(); break;
        default: run.template operator()<detail::Bfloat16>(); break;
      }
      expect_near(result.output, expected.output.to(at::kDouble), GetParam(), 1.0, "output");
      expect_near(gradient, expected_gradient, GetParam(), 1.0, "gradient");
    }
  }
}

// What is behind the mask never counts, to the last bit.
TEST_P(AttentionTest, TheFutureIsNotRead) {
  const AttentionShape shape{1, 40, 2, 2, 16};
  const at::Tensor qkv = random(40, shape.width());
  const at::Tensor before = causal_attention(qkv, shape).output;
  qkv.narrow(0, 23, 17).add_(100.0);
  const at::Tensor after = causal_attention(qkv, shape).output;
  EXPECT_TRUE(at::equal(before.narrow(0, 0, 23), after.narrow(0, 0, 23)));
}

// Whole heads for each thread, heads that are cut, shared keys of which several threads have a
// part.
TEST_P(AttentionTest, ThreadsChangeNothing) {
  for (const AttentionShape& shape : std::vector<AttentionShape>{{3, 64, 4, 2, 32},
                                                                 {1, 300, 1, 1, 64},
                                                                 {1, 259, 5, 1, 16},
                                                                 {1, 1, 2, 1, 8},
                                                                 {10, 20, 4, 2, 8}}) {
    const std::int64_t tokens = shape.sequences * shape.seq;
    const at::Tensor qkv = random(tokens, shape.width());
    const at::Tensor d_output = random(tokens, shape.heads * shape.head_dim);
    const AttentionResult alone = causal_attention(qkv, shape);
    const at::Tensor gradient = causal_attention_backward(d_output, qkv, alone, shape);
    for (const int threads : {2, 3, 5, 16}) {
      at::set_num_threads(threads);
      const AttentionResult result = causal_attention(qkv, shape);
      EXPECT_TRUE(at::equal(result.output, alone.output)) << threads << " threads";
      EXPECT_TRUE(at::equal(result.log_sum_exp, alone.log_sum_exp)) << threads << " threads";
      EXPECT_TRUE(at::equal(causal_attention_backward(d_output, qkv, result, shape), gradient))
          << threads << " threads";
    }
    at::set_num_threads(1);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, AttentionTest,
                         testing::Values(at::kFloat, at::kBFloat16, at::kDouble),
                         [](const auto& type) { return c10::toString(type.param); });

}  // namespace
}  // namespace cuboid
