// ranks: 1
#include "cuboid/config/resolve.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "config_testing.hpp"

namespace cuboid {
namespace {

TEST(Resolve, DerivesTheModel) {
  const auto gpt = configured({}).model;
  EXPECT_EQ(gpt.num_attention_heads, 12);
  EXPECT_EQ(gpt.num_key_value_heads, 12);
  EXPECT_EQ(gpt.ffn_hidden_size, 3072);
  EXPECT_EQ(gpt.vocab_size, 256);
  EXPECT_EQ(gpt.linear_bias, true);
  const auto llama =
      configured({"--hidden-size", "4096", "--activation", "swiglu", "--normalization", "rmsnorm"})
          .model;
  EXPECT_EQ(llama.num_attention_heads, 64);
  EXPECT_EQ(llama.ffn_hidden_size, 10880);  // int((4 * 4096 * 2/3) / 64) * 64, as in Megatron-LM
  EXPECT_EQ(llama.linear_bias, false);
  EXPECT_EQ(configured({"--hidden-size", "16"}).model.num_attention_heads, 1);
  EXPECT_EQ(configured({"--hidden-size", "16", "--swiglu"}).model.ffn_hidden_size, 64);
}

TEST(Resolve, TheVocabularyFollowsTheData) {
  const DataFacts tokens{.kind = DataKind::kTokens, .vocab_size = 50257};
  EXPECT_EQ(finish(parsed({}), {.world_size = 1, .data = tokens}).model.vocab_size, 50257);
  EXPECT_EQ(finish(parsed({}), {.world_size = 1, .data = {}}).model.vocab_size, 0);
  EXPECT_EQ(configured({"--vocab-size", "300"}).model.vocab_size, 300);
}

TEST(Resolve, DerivesGridAndBatch) {
  const auto config = configured(
      {"--tensor-parallel-size", "2", "--pipeline-parallel-size", "2", "--num-microbatches", "8"},
      8);
  EXPECT_EQ(config.parallel.data_parallel_size, 2);
  EXPECT_EQ(config.batch.global_batch_size, 4 * 8 * 2);
  const auto by_global = configured({"--global-batch-size", "48"}, 4);
  EXPECT_EQ(by_global.batch.num_microbatches, 3);
  const auto alone = configured({}, 1);
  EXPECT_EQ(alone.batch.num_microbatches, 1);
  EXPECT_EQ(alone.batch.global_batch_size, 4);
}

TEST(Resolve, DerivesTheSchedule) {
  const auto config = configured({"--warmup-ratio", "0.29", "--max-steps", "100"}).optimizer;
  EXPECT_EQ(config.warmup_steps, 29);         // though 0.29 * 100 is below 29
  EXPECT_EQ(config.min_learning_rate, 3e-5);  // exactly, though 3e-4 / 10 is not
  EXPECT_EQ(configured({"--lr-schedule", "constant"}).optimizer.min_learning_rate, 3e-4);
  EXPECT_EQ(configured({"--min-lr", "0"}).optimizer.min_learning_rate, 0);
}

TEST(Resolve, IsIdempotent) {
  const Facts facts{.world_size = 8, .data = DataFacts{}};
  const auto config = configured({"--preset", "demo", "--tensor-parallel-size", "2"}, 8);
  Config again = config;
  resolve(again, facts);
  EXPECT_EQ(again, config);
  EXPECT_TRUE(find_problems(config, facts).empty());
}

struct ProblemCase {
  std::vector<std::string> arguments;
  std::int64_t ranks;
  std::vector<std::string> parts;  // of its one problem
};

class Problems : public testing::TestWithParam<ProblemCase> {};

TEST_P(Problems, NameOptionValueAndWhatIsLegal) {
  const auto& [arguments, ranks, parts] = GetParam();
  const auto problems = problems_of(arguments, {.world_size = ranks, .data = DataFacts{}});
  ASSERT_EQ(problems.size(), 1U) << (problems.empty() ? "none" : problems[1]);
  for (const auto& part : parts) {
    EXPECT_TRUE(contains(problems[0], part)) << problems[0] << "\nlacks " << part;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Model, Problems,
    testing::Values(
        ProblemCase{{"--num-attention-heads", "7"},
                    1,
                    {"--num-attention-heads 7", "--hidden-size 768", "4, 6, 8, 12"}},
        ProblemCase{{"--hidden-size", "200"},
                    1,
                    {"--num-attention-heads auto", "--hidden-size 200", "1, 2, 4, 5, 8, 10"}},
        ProblemCase{
            {"--hidden-size", "36", "--num-attention-heads", "4", "--position-embedding", "rope"},
            1,
            {"--position-embedding rope", "--num-attention-heads 4 is 9", "1, 2, 3, 6"}},
        ProblemCase{{"--num-key-value-heads", "5"},
                    1,
                    {"--num-key-value-heads 5", "--num-attention-heads 12 (derived)",
                     "1, 2, 3, 4, 6 or 12"}},
        ProblemCase{{"--num-key-value-heads", "24"}, 1, {"--num-key-value-heads 24", "12"}},
        ProblemCase{{"--tensor-parallel-size", "8"},
                    8,
                    {"--num-attention-heads 12 (derived)", "--tensor-parallel-size 8",
                     "legal: --num-attention-heads 8, 16, 24",
                     "--tensor-parallel-size 1, 2, 3, 4, 6 or 12"}},
        ProblemCase{
            {"--num-key-value-heads", "3", "--tensor-parallel-size", "2"},
            2,
            {"--num-key-value-heads 3", "--tensor-parallel-size 2",
             "legal: --num-key-value-heads 2, 4, 6 or 12", "--tensor-parallel-size 1 or 3"}},
        ProblemCase{{"--ffn-hidden-size", "1001", "--tensor-parallel-size", "2"},
                    2,
                    {"--ffn-hidden-size 1001", "--tensor-parallel-size 2", "1002"}},
        ProblemCase{{"--pipeline-parallel-size", "16"},
                    16,
                    {"--pipeline-parallel-size 16", "--num-layers 12", "1 to 12"}},
        ProblemCase{{"--vocab-size", "100"}, 1, {"--vocab-size 100", "bytes", "256 or more"}}));

INSTANTIATE_TEST_SUITE_P(
    GridAndBatch, Problems,
    testing::Values(
        ProblemCase{
            {"--tensor-parallel-size", "2", "--pipeline-parallel-size", "2"},
            6,
            {"--tensor-parallel-size 2 x --pipeline-parallel-size 2 = 4", "the world of 6 ranks",
             "legal: 4, 8 or 12 ranks", "TP x PP of", "2 x 1", "1 x 2", "2 x 3", "3 x 2"}},
        ProblemCase{{"--tensor-parallel-size", "4"},
                    1,
                    {"--tensor-parallel-size 4", "world of 1 rank;", "4, 8 or 12 ranks",
                     "TP x PP of 1 x 1"}},
        ProblemCase{{"--data-parallel-size", "3", "--tensor-parallel-size", "2"},
                    8,
                    {"--data-parallel-size 3", "is 6 ranks", "world of 8 ranks",
                     "legal: 6 ranks, or --data-parallel-size 4"}},
        ProblemCase{{"--global-batch-size", "30"},
                    2,
                    {"--global-batch-size 30", "--micro-batch-size 4 x 2 replicas = 8",
                     "legal: --global-batch-size 24 or 32", "--micro-batch-size 1, 3, 5 or 15"}},
        ProblemCase{{"--global-batch-size", "3"},
                    2,
                    {"--global-batch-size 3", "legal: --global-batch-size 8"}},
        ProblemCase{{"--preset", "shakespeare-char"},
                    2,
                    {"--global-batch-size 12", "--micro-batch-size 1, 2, 3 or 6"}},
        ProblemCase{{"--global-batch-size", "30", "--num-microbatches", "2"},
                    2,
                    {"--global-batch-size 30 is not --micro-batch-size 4 x --num-microbatches 2 x "
                     "2 replicas = 16",
                     "legal: --global-batch-size 16"}},
        ProblemCase{{"--num-microbatches", "1048576", "--micro-batch-size", "4096", "--seq-length",
                     "1", "--max-steps", "1"},
                    1,
                    {"--global-batch-size 4294967296 (derived)", "at most 1073741824"}},
        ProblemCase{{"--global-batch-size", "1073741824", "--micro-batch-size", "1024",
                     "--seq-length", "1048576", "--max-steps", "1000000000"},
                    1,
                    {"--max-steps 1000000000", "1.13e+24 tokens", "at most 9.22e+18"}}));

INSTANTIATE_TEST_SUITE_P(
    Rest, Problems,
    testing::Values(ProblemCase{{"--warmup-steps", "7", "--warmup-ratio", "0.1"},
                                1,
                                {"--warmup-steps 7 contradicts --warmup-ratio 0.1", "(100 steps)"}},
                    ProblemCase{
                        {"--min-lr", "1e-3"},
                        1,
                        {"--min-learning-rate 0.001", "--learning-rate 3e-04", "0 to 3e-04"}},
                    ProblemCase{{"--attention-kernel", "flash", "--device", "cpu"},
                                1,
                                {"--attention-kernel flash", "--device cpu", "auto"}},
                    ProblemCase{{"--attention-kernel", "cudnn", "--device", "cuda"},
                                1,
                                {"--attention-kernel cudnn", "--dtype fp32", "auto or efficient"}},
                    ProblemCase{{"--attention-kernel", "cudnn", "--device", "cuda", "--dtype",
                                 "bf16", "--num-attention-heads", "4"},
                                1,
                                {"--attention-kernel cudnn", "up to 128", "a width of 192"}},
                    ProblemCase{{"--cuda-graph", "true", "--device", "cpu"},
                                1,
                                {"--cuda-graph true", "--device cpu", "auto or false"}},
                    ProblemCase{{"--cuda-graph", "true", "--pipeline-parallel-size", "2"},
                                2,
                                {"--cuda-graph true", "--pipeline-parallel-size 2",
                                 "--pipeline-parallel-size 1"}},
                    ProblemCase{{"--cuda-graph", "true", "--comm-backend", "mpi"},
                                2,
                                {"--cuda-graph true", "--comm-backend mpi", "--comm-backend nccl"}},
                    ProblemCase{{"--comm-backend", "nccl", "--device", "cpu"},
                                1,
                                {"--comm-backend nccl", "--device cpu", "--comm-backend mpi"}}));

TEST(FindProblems, WhatIsLegalPasses) {
  EXPECT_TRUE(problems_of({"--device", "cuda", "--comm-backend", "mpi"}).empty());
  EXPECT_TRUE(problems_of({"--device", "cuda", "--attention-kernel", "efficient"}).empty());
  EXPECT_TRUE(problems_of({"--device", "cuda", "--dtype", "bf16", "--num-attention-heads", "4",
                           "--attention-kernel", "flash"})
                  .empty());
  EXPECT_TRUE(problems_of({"--device", "cpu", "--cuda-graph", "false"}).empty());
  EXPECT_TRUE(problems_of({"--device", "cpu", "--cuda-graph", "auto"}).empty());
  EXPECT_TRUE(
      problems_of({"--device", "cuda", "--cuda-graph", "true", "--comm-backend", "mpi"}).empty());
  EXPECT_TRUE(problems_of({"--vocab-size", "257", "--tensor-parallel-size", "2"},
                          {.world_size = 2, .data = DataFacts{}})
                  .empty());  // padded
  EXPECT_TRUE(problems_of({"--hidden-size", "2048", "--tensor-parallel-size", "4"},
                          {.world_size = 4, .data = {}})
                  .empty());
  EXPECT_TRUE(
      problems_of({"--pipeline-parallel-size", "5"}, {.world_size = 5, .data = {}}).empty());
  EXPECT_TRUE(problems_of({"--warmup-steps", "100", "--warmup-ratio", "0.1"}).empty());
  EXPECT_TRUE(problems_of({"--min-lr", "3e-4"}).empty());
}

TEST(FindProblems, ChecksConfigurationsMadeInCodeToo) {
  Config config;
  config.model.hidden_size = -3;
  config.batch.micro_batch_size = std::numeric_limits<std::int64_t>::max();
  config.parallel.tensor_parallel_size = 0;
  config.optimizer.adam_beta1 = std::nan("");
  config.runtime.dtype = static_cast<Precision>(9);
  config.checkpoint.output_dir = "";
  const auto problems = find_problems(config, {});
  ASSERT_EQ(problems.size(), 6U);
  for (const char* part : {"--hidden-size -3", "--tensor-parallel-size 0", "--micro-batch-size 92",
                           "--adam-beta1 nan", "--output-dir ''", "--dtype ?"}) {
    bool found = false;
    for (const auto& problem : problems) found = found || contains(problem, part);
    EXPECT_TRUE(found) << part;
  }
}

TEST(FindWarnings, NamesWhatIsProbablyNotMeant) {
  EXPECT_TRUE(find_warnings(configured({})).empty());
  const auto few =
      find_warnings(configured({"--pipeline-parallel-size", "4", "--num-microbatches", "3"}, 4));
  ASSERT_EQ(few.size(), 1U);
  EXPECT_TRUE(contains(few[0], "--num-microbatches 3"));
  EXPECT_TRUE(contains(few[0], "= 50 %"));
  EXPECT_TRUE(contains(few[0], "16 or more"));
  EXPECT_TRUE(
      find_warnings(configured({"--pipeline-parallel-size", "4", "--num-microbatches", "4"}, 4))
          .empty());
  const auto rest = find_warnings(configured({"--save-interval", "2000", "--eval-interval", "3000",
                                              "--lr-schedule", "constant", "--min-lr", "1e-5"}));
  ASSERT_EQ(rest.size(), 3U);
  EXPECT_TRUE(contains(rest[0], "--save-interval 2000 is beyond --max-steps 1000"));
  EXPECT_TRUE(contains(rest[1], "--eval-interval 3000 is beyond --max-steps 1000"));
  EXPECT_TRUE(contains(rest[2], "--min-learning-rate has no effect"));
  const auto short_run = find_warnings(configured({"--warmup-steps", "101", "--max-steps", "100",
                                                   "--eval-interval", "5", "--eval-steps", "0"}));
  ASSERT_EQ(short_run.size(), 2U);
  EXPECT_TRUE(contains(short_run[0], "--eval-interval has no effect"));
  EXPECT_TRUE(contains(short_run[1], "--warmup-steps 101 goes beyond --max-steps 100"));
}

}  // namespace
}  // namespace cuboid
