// ranks: 1
#include "cuboid/config/preset.hpp"

#include <gtest/gtest.h>

#include <map>

#include "config_testing.hpp"
#include "cuboid/config/model_size.hpp"

namespace cuboid {
namespace {

TEST(Preset, HasTheParametersOfThePublishedModels) {
  const std::map<std::string, std::int64_t> published{
      {"124m", 124439808},           {"350m", 354823168},        {"774m", 774030080},
      {"1.5b", 1557611200},          {"2.7b", 2651553280},       {"7b", 6738415616},
      {"llama-60m", 58073600},       {"smollm-135m", 134515008}, {"llama-160m", 162417408},
      {"tinyllama-1.1b", 1100048384}};
  for (const auto& [name, parameters] : published) {
    const auto config = configured({"--preset", name});
    EXPECT_EQ(num_parameters(config.model), parameters) << name;
  }
}

TEST(Preset, EachIsLegalAndInTheTable) {
  const std::string table = presets_table();
  for (const auto& preset : presets()) {
    EXPECT_TRUE(problems_of({"--preset", preset.name}).empty()) << preset.name;
    EXPECT_TRUE(contains(table, "\n" + preset.name + " ")) << preset.name;
    EXPECT_EQ(find_preset(preset.name), &preset);
  }
  EXPECT_EQ(find_preset("3b"), nullptr);
  EXPECT_TRUE(contains(table, "124,439,808"));
}

TEST(Preset, TheSmallOnesFitTheGridsOfTheTests) {
  struct Grid {
    std::int64_t dp, tp, pp;
  };
  for (const char* name : {"tiny-gpt2", "tiny-llama", "demo"}) {
    for (const Grid grid : {Grid{4, 1, 1}, {1, 4, 1}, {1, 1, 4}, {2, 2, 2}}) {
      const auto problems =
          problems_of({"--preset", name, "--tensor-parallel-size", std::to_string(grid.tp),
                       "--pipeline-parallel-size", std::to_string(grid.pp)},
                      {.world_size = grid.dp * grid.tp * grid.pp, .data = {}});
      EXPECT_TRUE(problems.empty()) << name << ": " << problems[0];
    }
  }
}

TEST(Preset, ShakespeareCharIsTheRecipeOfTheLearningProof) {
  const auto config = configured({"--preset", "shakespeare-char"});
  EXPECT_EQ(config.model.num_layers, 4);
  EXPECT_EQ(config.model.num_attention_heads, 4);
  EXPECT_EQ(config.model.hidden_size, 128);
  EXPECT_EQ(config.model.seq_length, 64);
  EXPECT_EQ(config.batch.global_batch_size, 12);
  EXPECT_EQ(config.optimizer.learning_rate, 1e-3);
  EXPECT_EQ(config.optimizer.min_learning_rate, 1e-4);
  EXPECT_EQ(config.optimizer.warmup_steps, 100);
  EXPECT_EQ(config.optimizer.adam_beta2, 0.99);
  EXPECT_EQ(config.train.max_steps, 2000);
}

TEST(ModelSize, CountsEveryParameter) {
  // Every tensor of a layer written out: h 8, 2 heads of 4, 1 kv head, ffn 12, vocabulary 10.
  ModelConfig model;
  model.hidden_size = 8;
  model.num_layers = 3;
  model.num_attention_heads = 2;
  model.num_key_value_heads = 1;
  model.ffn_hidden_size = 12;
  model.seq_length = 5;
  model.vocab_size = 10;
  const std::int64_t gpt_layer =
      2 * (8 + 8) + (8 * 8 + 8) + 2 * (8 * 4 + 4) + (8 * 8 + 8) + (8 * 12 + 12) + (12 * 8 + 8);
  EXPECT_EQ(num_parameters(model), 10 * 8 + 5 * 8 + 3 * gpt_layer + 16);
  model.normalization = Normalization::kRmsNorm;
  model.position_embedding = PositionEmbedding::kRope;
  model.activation = Activation::kSwiglu;
  model.tie_embeddings = false;
  const std::int64_t llama_layer = 2 * 8 + 8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 12;
  EXPECT_EQ(num_parameters(model), 2 * 10 * 8 + 3 * llama_layer + 8);
  model.linear_bias = true;
  const std::int64_t biases = 8 + 2 * 4 + 8 + 2 * 12 + 8;
  EXPECT_EQ(num_parameters(model), 2 * 10 * 8 + 3 * (llama_layer + biases) + 8);
}

// MFLOP a token of GPT-2 124M, calculated from the programs' sources by hand.
TEST(ModelSize, CountsGpt2sArithmeticAsOthersDo) {
  const auto model = configured({"--preset", "124m"}).model;
  EXPECT_NEAR(flops_per_token(model) / 1e6, 803.3, 0.05);
  EXPECT_NEAR(flops_per_token(model, MfuConvention::kMegatron) / 1e6, 798.0, 0.05);
  EXPECT_NEAR(flops_per_token(model, MfuConvention::kNanoGpt) / 1e6, 855.2, 0.05);
  EXPECT_NEAR(flops_per_token(model, MfuConvention::kPalm) / 1e6, 859.9, 0.05);
  EXPECT_EQ(flops_per_token(model, MfuConvention::kLlmC), 6.0 * 124439808 + 6.0 * 12 * 768 * 1024);
  // Four TP ranks pad to multiples of 512: 50,688 rows instead of 50,304.
  EXPECT_EQ(flops_per_token(model, MfuConvention::kMegatron, 4) -
                flops_per_token(model, MfuConvention::kMegatron),
            6.0 * 768 * 384);
}

// TinyLlama: 2048 wide, 22 layers, 4 of 32 key and value heads (256 wide), three matrices of 5632,
// 32,000 tokens (a multiple of 128), embeddings that are not tied, no positions.
TEST(ModelSize, CountsGroupedQueriesAndSwiglu) {
  const auto model = configured({"--preset", "tinyllama-1.1b"}).model;
  const double products =
      22.0 * (2 * 2048 * 2048 + 2 * 2048 * 256 + 3 * 2048 * 5632) + 32000.0 * 2048;
  const double attention = 22.0 * 2048 * 2048;
  const double parameters = 1100048384;
  EXPECT_EQ(flops_per_token(model, MfuConvention::kMegatron), 6 * products + 6 * attention);
  EXPECT_EQ(flops_per_token(model, MfuConvention::kLlmC), 6 * parameters + 6 * attention);
  EXPECT_EQ(flops_per_token(model, MfuConvention::kNanoGpt), 6 * parameters + 12 * attention);
  EXPECT_EQ(flops_per_token(model, MfuConvention::kPalm), 6 * parameters + 12 * attention);
  // What parameters are and products are not: the input embedding and 45 normalisations.
  EXPECT_EQ(parameters - products, 32000.0 * 2048 + 45 * 2048);
}

TEST(ModelSize, ConventionsAreNamedAsOnTheCommandLine) {
  for (const char* const name : {"llmc", "megatron", "nanogpt", "palm"}) {
    const auto config = configured({"--mfu-convention", name});
    EXPECT_EQ(name_of(config.runtime.mfu_convention), name);
    EXPECT_TRUE(contains(std::string(formula_of(config.runtime.mfu_convention)), "convention"));
  }
}

TEST(ModelSize, MemoryFollowsThePrecision) {
  const auto model = configured({"--preset", "124m"}).model;
  EXPECT_EQ(training_bytes(model, Precision::kFloat32), 16.0 * 124439808);
  EXPECT_EQ(training_bytes(model, Precision::kBFloat16), 18.0 * 124439808);
  EXPECT_THROW(num_parameters(ModelConfig{}), std::logic_error);
}

}  // namespace
}  // namespace cuboid
