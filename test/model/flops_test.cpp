// ranks: 1 2
// The FLOPs that the formulas of MFU count, against what LibTorch's own profiler counts in a
// forward and a backward pass, to the last one.
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/profiler/util.h>

#include <memory>
#include <string_view>

#include "cuboid/collective/backend.hpp"
#include "cuboid/config/model_size.hpp"
#include "cuboid/model/stage.hpp"

namespace cuboid {
namespace {

constexpr std::int64_t kSequences = 3;

// What the profiler of this thread has seen.
struct Seen {
  double products = 0.0;  // FLOPs of matrix products, by LibTorch's own count
  // Its table has no entry for fused attention: calls, and T x T x width of each forward one, which
  // the kernel tells profilers as its second input.
  int attention_forward = 0;
  int attention_backward = 0;
  double scores = 0.0;
};
thread_local Seen seen;

std::unique_ptr<at::ObserverContext> count(const at::RecordFunction& function) {
  const std::string_view name = function.name();
  if (name == "aten::mm" || name == "aten::addmm" || name == "aten::bmm" ||
      name == "aten::baddbmm") {
    seen.products += static_cast<double>(torch::profiler::impl::computeFlops(
        std::string(name), torch::profiler::impl::saveExtraArgs(function)));
  } else if (name == "cuboid::causal_attention") {
    ++seen.attention_forward;
    seen.scores += function.inputs()[1].toDouble();
  } else if (name == "cuboid::causal_attention_backward") {
    ++seen.attention_backward;
  } else if (name.find("matmul") != std::string_view::npos ||
             name.find("linear") != std::string_view::npos || name == "aten::addmm_") {
    ADD_FAILURE() << name << ": a product that is not counted";
  }
  return nullptr;
}

ModelConfig gpt2() {
  ModelConfig model;
  model.hidden_size = 32;
  model.num_layers = 3;
  model.num_attention_heads = model.num_key_value_heads = 4;
  model.ffn_hidden_size = 96;
  model.seq_length = 16;
  model.vocab_size = 66;
  return model;
}

// Grouped queries, three matrices in the feed-forward block, embeddings that are not tied.
ModelConfig llama() {
  ModelConfig model = gpt2();
  model.num_key_value_heads = 2;
  model.normalization = Normalization::kRmsNorm;
  model.position_embedding = PositionEmbedding::kRope;
  model.activation = Activation::kSwiglu;
  model.tie_embeddings = false;
  return model;
}

// Elements of the model's parameters, by what becomes of them.
struct Elements {
  double multiplied = 0.0;
  double vectors = 0.0;  // biases and norms
  double positions = 0.0;
  double looked_up = 0.0;  // the input embedding, where the output has a matrix of its own
};

Elements elements_of(const WeightStore& store, bool tied) {
  Elements elements;
  for (const auto& weight : store.weights()) {
    for (const LogicalParameter& part : weight->parts) {
      double size = 1.0;
      for (const std::int64_t length : part.shape) size *= static_cast<double>(length);
      if (part.shape.size() == 1) {
        elements.vectors += size;
      } else if (part.name.find("position") != std::string::npos) {
        elements.positions += size;
      } else if (part.name.find("embedding") != std::string::npos && !tied) {
        elements.looked_up += size;
      } else {
        elements.multiplied += size;
      }
    }
  }
  return elements;
}

class FlopsTest : public testing::Test {
 protected:
  void SetUp() override { tp_ = make_communicator(Backend::kMpi, MPI_COMM_WORLD, "tp"); }

  // One forward and backward over kSequences sequences; FLOPs are sums over the TP ranks.
  Elements run(const ModelConfig& model) {
    const c10::InferenceMode no_autograd;
    Stage stage(model, stage_place(model, 1, 0), *tp_, {.seed = 1, .micro_batch_size = kSequences});
    const at::Tensor tokens = at::zeros({kSequences * model.seq_length}, at::kLong);
    stage.begin_step({{.tokens = tokens, .targets = tokens, .first_sample = 0}}, 1.0);
    seen = {};
    const auto handle =
        at::addThreadLocalCallback(at::RecordFunctionCallback(count).needsInputs(true));
    (void)stage.forward(0, {});
    (void)stage.backward(0, {}, true);
    at::removeCallback(handle);
    tp_->all_reduce(buffer_of(seen.products));
    tp_->all_reduce(buffer_of(seen.scores));
    return elements_of(stage.store(), model.tie_embeddings);
  }

  void check(const ModelConfig& model) {
    const Elements elements = run(model);
    const auto tokens = static_cast<double>(kSequences * model.seq_length);
    const auto attention =
        static_cast<double>(model.num_layers * model.hidden_size * model.seq_length);
    const auto flops = [&](MfuConvention convention) {
      return flops_per_token(model, convention, tp_->size()) * tokens;
    };

    // A multiplication and an addition for each element and token, forward and twice backward.
    EXPECT_EQ(seen.products, 6 * elements.multiplied * tokens);
    // Attention is two products forward and four backward, each of 2 h T FLOPs a token and layer,
    // 12 L h T in all. The kernel saves the half above the diagonal, as llm.c's and
    // Megatron-LM's count does, and makes one product again in its backward, which nobody counts.
    EXPECT_EQ(seen.attention_forward, model.num_layers);
    EXPECT_EQ(seen.attention_backward, model.num_layers);
    EXPECT_EQ(seen.scores, attention * tokens);
    const double counted = seen.products + 12 * seen.scores;

    // What each formula counts beyond that.
    const double not_multiplied =
        6 * tokens * (elements.vectors + elements.positions + elements.looked_up);
    EXPECT_EQ(flops(MfuConvention::kPalm) - counted, not_multiplied);
    EXPECT_EQ(flops(MfuConvention::kNanoGpt) - counted,
              not_multiplied - 6 * tokens * elements.positions);
    EXPECT_EQ(flops(MfuConvention::kLlmC) - counted, not_multiplied - 6 * seen.scores);
    const double unit = 128.0 * tp_->size();
    const double padding = unit - static_cast<double>(model.vocab_size);
    EXPECT_EQ(flops(MfuConvention::kMegatron) - counted,
              6 * tokens * padding * static_cast<double>(model.hidden_size) - 6 * seen.scores);
  }

  std::unique_ptr<Communicator> tp_;
};

TEST_F(FlopsTest, Gpt2) {
  check(gpt2());
}
TEST_F(FlopsTest, Llama) {
  check(llama());
}
TEST_F(FlopsTest, LlamaWithTiedEmbeddingsAndBiases) {
  ModelConfig model = llama();
  model.tie_embeddings = true;
  model.linear_bias = true;
  check(model);
}

}  // namespace
}  // namespace cuboid
