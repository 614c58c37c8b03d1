// ranks: 1 2 4
// timeout: 200
// Gradients of every layer against finite differences in fp64, on tensor-parallel ranks.
#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <set>

#include "cuboid/base/philox.hpp"
#include "cuboid/collective/backend.hpp"
#include "cuboid/model/initialize.hpp"
#include "cuboid/model/stage.hpp"
#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid {
namespace {

constexpr std::int64_t kSequences = 2;

ModelConfig model_with(Normalization normalization, PositionEmbedding position,
                       Activation activation, bool tied, std::int64_t kv_heads) {
  ModelConfig model;
  model.hidden_size = 16;
  model.num_layers = 2;
  model.num_attention_heads = 4;
  model.num_key_value_heads = kv_heads;
  model.ffn_hidden_size = 24;
  model.seq_length = 6;
  model.vocab_size = 13;  // divided by no number of ranks: padding takes part
  model.normalization = normalization;
  model.position_embedding = position;
  model.activation = activation;
  model.tie_embeddings = tied;
  model.init_std = 0.3;  // large, so that softmax and activations leave their linear range
  return model;
}

ModelConfig gpt2() {
  return model_with(Normalization::kLayerNorm, PositionEmbedding::kLearned, Activation::kGelu, true,
                    4);
}
ModelConfig llama() {
  return model_with(Normalization::kRmsNorm, PositionEmbedding::kRope, Activation::kSwiglu, false,
                    4);
}

// A whole model on tensor-parallel ranks, with one batch.
class Subject {
 public:
  explicit Subject(const ModelConfig& model)
      : tp_(make_communicator(Backend::kMpi, MPI_COMM_WORLD, "tp")),
        stage_(model, stage_place(model, 1, 0), *tp_,
               {.dtype = at::kDouble, .seed = 3, .micro_batch_size = kSequences}) {
    std::vector<std::int64_t> tokens;
    std::vector<std::int64_t> targets;
    for (std::int64_t i = 0; i < kSequences * model.seq_length; ++i) {
      const PhiloxBlock random = philox(5, 5, static_cast<std::uint64_t>(i));
      tokens.push_back(random.word[0] % model.vocab_size);
      targets.push_back(random.word[1] % model.vocab_size);
    }
    batch_ = {{.tokens = at::tensor(tokens), .targets = at::tensor(targets), .first_sample = 40}};
  }

  double loss() {
    // Dropout belongs to training: keep what training keeps, then throw it away by a backward.
    stage_.begin_step(batch_, kScale);
    (void)stage_.forward(0, {});
    const double value = stage_.loss_sum() * kScale;
    (void)stage_.backward(0, {}, true);
    return value;
  }

  // The gradient of one logical parameter in the direction that `direction` holds, over all ranks.
  double slope_by_gradient(const Weight& weight, const LogicalParameter& part,
                           const at::Tensor& direction) {
    loss();
    at::Tensor gradient = weight.gradient;
    if (stage_.tied_gradient() != nullptr && &weight == stage_.tied_weight()) {
      gradient = gradient + stage_.tied_gradient()->gradient;
    }
    double slope =
        (gradient.narrow(0, part.row_begin, part.local_rows()) * direction).sum().item<double>();
    // A slice is this rank's alone; a replicated parameter has the same gradient everywhere.
    if (part.shard_dim >= 0) tp_->all_reduce(buffer_of(slope));
    return slope;
  }

  double slope_by_differences(const Weight& weight, const LogicalParameter& part,
                              const at::Tensor& direction) {
    // Five points: an error of order step^4 = 1e-16, rounding of 1e-16 / step = 1e-12.
    constexpr double kStep = 1e-4;
    const at::Tensor value = WeightStore::local_part(stage_.store().master(), weight, part);
    const at::Tensor original = value.clone();
    const auto at_distance = [&](double steps) {
      value.copy_(original + direction * (steps * kStep));
      return loss();
    };
    const double slope =
        (8 * (at_distance(1) - at_distance(-1)) - (at_distance(2) - at_distance(-2))) /
        (12 * kStep);
    value.copy_(original);
    return slope;
  }

  // A direction that is the same on every grid: each rank gets its slice of one random tensor.
  static at::Tensor direction(const Weight& weight, LogicalParameter part) {
    const at::Tensor local =
        at::zeros_like(weight.gradient.narrow(0, part.row_begin, part.local_rows()));
    part.init = Init::kNormal;
    part.init_std = 1.0;
    initialize(local, part, 17);
    return local;
  }

  Stage& stage() { return stage_; }
  std::vector<MicroBatch>& batch() { return batch_; }

  static constexpr double kScale = 0.25;

 private:
  std::unique_ptr<Communicator> tp_;
  Stage stage_;
  std::vector<MicroBatch> batch_;
};

void check_every_parameter(const ModelConfig& model) {
  const c10::InferenceMode no_autograd;
  Subject subject(model);
  for (const auto& weight : subject.stage().store().weights()) {
    for (const LogicalParameter& part : weight->parts) {
      const at::Tensor direction = Subject::direction(*weight, part);
      const double exact = subject.slope_by_gradient(*weight, part, direction);
      const double measured = subject.slope_by_differences(*weight, part, direction);
      // 1e-7 of the slope, and an absolute floor for slopes that are zero (key biases).
      EXPECT_NEAR(exact, measured, 1e-7 * std::abs(measured) + 1e-8) << part.name;
    }
  }
}

TEST(Gradient, Gpt2) {
  check_every_parameter(gpt2());
}
TEST(Gradient, Llama) {
  check_every_parameter(llama());
}

TEST(Gradient, Gpt2WithDropout) {
  ModelConfig model = gpt2();
  model.dropout = 0.3;
  check_every_parameter(model);
}

TEST(Gradient, SharedKeyValueHeads) {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (size == 4) GTEST_SKIP() << "two kv heads cannot be divided over four ranks";
  ModelConfig model = llama();
  model.num_key_value_heads = 2;
  check_every_parameter(model);
}

TEST(Gradient, BiasesWithRmsNormAndTying) {
  ModelConfig model = llama();
  model.linear_bias = true;
  model.tie_embeddings = true;
  check_every_parameter(model);
}

TEST(Gradient, AddsUpOverMicroBatches) {
  const c10::InferenceMode no_autograd;
  Subject subject(gpt2());
  subject.loss();
  const at::Tensor once = subject.stage().store().gradients().clone();
  subject.stage().begin_step({subject.batch()[0], subject.batch()[0]}, Subject::kScale);
  for (int m = 0; m < 2; ++m) (void)subject.stage().forward(m, {});
  for (int m = 0; m < 2; ++m) (void)subject.stage().backward(m, {}, m == 1);
  const double difference =
      (subject.stage().store().gradients() - once * 2).abs().max().item<double>();
  EXPECT_LT(difference, 1e-12);
}

TEST(Gradient, EveryWeightIsAnnouncedOnceAndLast) {
  const c10::InferenceMode no_autograd;
  Subject subject(gpt2());
  std::vector<const Weight*> announced;
  subject.stage().on_final_gradient([&](Weight& weight) { announced.push_back(&weight); });
  subject.stage().begin_step({subject.batch()[0], subject.batch()[0]}, Subject::kScale);
  for (int m = 0; m < 2; ++m) {
    (void)subject.stage().forward(m, {});
    (void)subject.stage().backward(m, {}, m == 1);
    if (m == 0) {
      EXPECT_TRUE(announced.empty()) << "gradients of an earlier micro-batch are not final";
    }
  }
  const std::set<const Weight*> unique(announced.begin(), announced.end());
  EXPECT_EQ(announced.size(), unique.size());
  EXPECT_EQ(unique.size(), subject.stage().store().weights().size());
}

}  // namespace
}  // namespace cuboid
