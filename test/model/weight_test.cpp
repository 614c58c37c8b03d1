// ranks: 1
// Initial weights are a pure function of (seed, name, element), whatever slice a rank owns.
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cuboid/model/initialize.hpp"
#include "cuboid/model/vocabulary.hpp"
#include "cuboid/model/weight.hpp"

namespace cuboid {
namespace {

LogicalParameter matrix(int shard_dim, Range shard) {
  return {.name = "layers.1.mlp.up.weight",
          .shape = {30, 22},
          .shard_dim = shard_dim,
          .shard = shard,
          .init = Init::kNormal,
          .init_std = 0.02};
}

at::Tensor initial(const LogicalParameter& part, std::uint64_t seed = 1) {
  const at::Tensor local = at::zeros(part.local_shape());
  initialize(local, part, seed);
  return local;
}

TEST(Initialize, SlicesAreBitEqualToTheWhole) {
  const c10::InferenceMode no_autograd;
  const at::Tensor whole = initial(matrix(-1, {}));
  for (const int parts : {1, 2, 3, 5, 8}) {
    for (int i = 0; i < parts; ++i) {
      const Range rows = even_part(30, parts, i);
      EXPECT_TRUE(initial(matrix(0, rows)).equal(whole.narrow(0, rows.begin, rows.size())));
      const Range columns = even_part(22, parts, i);
      EXPECT_TRUE(
          initial(matrix(1, columns)).equal(whole.narrow(1, columns.begin, columns.size())));
    }
  }
}

TEST(Initialize, NamesAndSeedsGiveOtherValues) {
  const c10::InferenceMode no_autograd;
  const at::Tensor one = initial(matrix(-1, {}));
  LogicalParameter other = matrix(-1, {});
  other.name = "layers.2.mlp.up.weight";
  EXPECT_FALSE(initial(other).equal(one));
  EXPECT_FALSE(initial(matrix(-1, {}), 2).equal(one));
}

TEST(Initialize, IsNormal) {
  const c10::InferenceMode no_autograd;
  LogicalParameter large = matrix(-1, {});
  large.shape = {400, 500};
  large.init_std = 2.0;
  const at::Tensor x = initial(large).to(at::kDouble);
  const double n = 400.0 * 500.0;
  // Four standard errors of each moment.
  EXPECT_NEAR(x.mean().item<double>(), 0.0, 4 * 2.0 / std::sqrt(n));
  EXPECT_NEAR(x.std().item<double>(), 2.0, 4 * 2.0 / std::sqrt(2 * n));
  EXPECT_NEAR(x.div(2.0).pow(4).mean().item<double>(), 3.0, 4 * std::sqrt(96.0 / n));
  EXPECT_NEAR(x.abs().lt(2.0).to(at::kDouble).mean().item<double>(), 0.6827, 0.005);
}

TEST(WeightStore, FusedPartsLieOneAfterAnother) {
  const c10::InferenceMode no_autograd;
  WeightStore store;
  LogicalParameter first = matrix(0, {10, 15});
  LogicalParameter second = matrix(0, {4, 6});
  second.name = "second";
  Weight& bias = store.add({{.name = "bias", .shape = {7}}});
  Weight& fused = store.add({first, second}, /*padding_rows=*/3);
  Weight& again = store.add_gradient_only(fused);
  store.allocate(at::kFloat, at::kCPU, 1);
  EXPECT_EQ(fused.value.sizes(), (std::vector<std::int64_t>{10, 22}));
  EXPECT_TRUE(fused.value.narrow(0, 0, 5).equal(initial(first)));
  EXPECT_TRUE(fused.value.narrow(0, 5, 2).equal(initial(second)));
  EXPECT_EQ(fused.value.narrow(0, 7, 3).abs().max().item<float>(), 0.0F) << "padding is zero";
  // Matrices first, then what does not decay, then gradients without a value.
  EXPECT_EQ(fused.offset, 0);
  EXPECT_GE(bias.offset, store.num_decaying() - 16);
  EXPECT_GE(again.offset, store.num_values());
  EXPECT_GE(store.gradients().numel(), again.offset + again.count());
}

TEST(WeightStore, FirstContributionOverwritesLaterOnesAdd) {
  const c10::InferenceMode no_autograd;
  WeightStore store;
  Weight& weight = store.add({matrix(-1, {})});
  store.allocate(at::kFloat, at::kCPU, 1);
  weight.gradient.fill_(100);
  const at::Tensor dy = at::zeros({4, 30}).fill_(1);
  const at::Tensor x = at::zeros({4, 22}).fill_(2);
  weight.accumulate_product(dy, x);
  EXPECT_EQ(weight.gradient[3][3].item<float>(), 8.0F);
  weight.accumulate_product(dy, x);
  EXPECT_EQ(weight.gradient[29][21].item<float>(), 16.0F);
  store.reset_gradients();
  weight.accumulate(at::zeros({30, 22}).fill_(3));
  EXPECT_EQ(weight.gradient[0][0].item<float>(), 3.0F);
}

TEST(WeightStore, Bf16KeepsMasterWeightsInFp32) {
  const c10::InferenceMode no_autograd;
  WeightStore store;
  Weight& weight = store.add({matrix(-1, {})});
  store.allocate(at::kBFloat16, at::kCPU, 1);
  EXPECT_EQ(store.master().scalar_type(), at::kFloat);
  EXPECT_EQ(weight.value.scalar_type(), at::kBFloat16);
  EXPECT_EQ(weight.gradient.scalar_type(), at::kFloat);
  EXPECT_TRUE(weight.value.equal(initial(weight.parts[0]).to(at::kBFloat16)));
  store.master().fill_(0.5);
  store.refresh_values();
  EXPECT_EQ(weight.value[0][0].item<float>(), 0.5F);
}

TEST(VocabularyShard, CoversTheVocabularyWithEqualBlocks) {
  for (const std::int64_t vocab : {1, 5, 13, 256, 50257, 128256}) {
    for (const int tp : {1, 2, 3, 4, 8}) {
      std::int64_t next = 0;
      for (int rank = 0; rank < tp; ++rank) {
        const VocabularyShard shard = vocabulary_shard(vocab, tp, rank);
        EXPECT_EQ(shard.rows.begin, next);
        EXPECT_GE(shard.padding(), 0);
        EXPECT_EQ(shard.num_rows, vocabulary_shard(vocab, tp, 0).num_rows);
        next = shard.rows.end;
      }
      EXPECT_EQ(next, vocab);
    }
  }
  EXPECT_EQ(vocabulary_shard(50257, 1, 0).num_rows, 50304) << "as GPT-2 is padded everywhere";
}

}  // namespace
}  // namespace cuboid
