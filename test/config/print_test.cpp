// ranks: 1
#include "cuboid/config/print.hpp"

#include <gtest/gtest.h>

#include "config_testing.hpp"
#include "cuboid/config/config_file.hpp"
#include "cuboid/config/option.hpp"

namespace cuboid {
namespace {

// A configuration that differs from the default in every option.
Config everything_changed() {
  const auto result = parsed({"--hidden-size",
                              "96",
                              "--num-layers",
                              "5",
                              "--num-attention-heads",
                              "6",
                              "--num-key-value-heads",
                              "3",
                              "--ffn-hidden-size",
                              "99",
                              "--seq-length",
                              "17",
                              "--vocab-size",
                              "321",
                              "--normalization",
                              "rmsnorm",
                              "--position-embedding",
                              "rope",
                              "--activation",
                              "swiglu",
                              "--tie-embeddings",
                              "false",
                              "--linear-bias",
                              "true",
                              "--norm-epsilon",
                              "1.1e-7",
                              "--rotary-base",
                              "500000.5",
                              "--dropout",
                              "0.1",
                              "--init-std",
                              "0.012345678901234567",
                              "--data-parallel-size",
                              "2",
                              "--tensor-parallel-size",
                              "3",
                              "--pipeline-parallel-size",
                              "4",
                              "--pipeline-schedule",
                              "gpipe",
                              "--micro-batch-size",
                              "2",
                              "--num-microbatches",
                              "7",
                              "--global-batch-size",
                              "28",
                              "--learning-rate",
                              "0.1000000000000000055",
                              "--min-learning-rate",
                              "1e-300",
                              "--lr-schedule",
                              "wsd",
                              "--warmup-ratio",
                              "0.25",
                              "--warmup-steps",
                              "20",
                              "--weight-decay",
                              "0.3",
                              "--adam-beta1",
                              "0.8",
                              "--adam-beta2",
                              "0.999",
                              "--adam-eps",
                              "2e-9",
                              "--clip-grad",
                              "0",
                              "--ddp-bucket-size",
                              "1000",
                              "--max-steps",
                              "80",
                              "--seed",
                              "9223372036854775807",
                              "--log-interval",
                              "1",
                              "--eval-interval",
                              "40",
                              "--eval-steps",
                              "2",
                              "--data-dir",
                              "a \"#1\" folder ",
                              "--output-dir",
                              "out#2",
                              "--save-interval",
                              "30",
                              "--time-limit",
                              "1-02:03:04",
                              "--save-async",
                              "true",
                              "--keep-last",
                              "3",
                              "--keep-every",
                              "500",
                              "--resume",
                              "old file.h5",
                              "--device",
                              "cuda",
                              "--comm-backend",
                              "mpi",
                              "--comm-timeout",
                              "45",
                              "--dtype",
                              "bf16",
                              "--attention-kernel",
                              "flash",
                              "--cuda-graph",
                              "true",
                              "--num-threads",
                              "3",
                              "--profile",
                              "5-9",
                              "--peak-tflops",
                              "989.5",
                              "--mfu-convention",
                              "palm"});
  EXPECT_TRUE(result.problems.empty());
  return result.config;
}

TEST(ConfigText, ReadsBackToTheSameConfiguration) {
  const Config changed = everything_changed();
  for (const auto& option : options()) {
    EXPECT_NE(option.get(changed), option.get(Config{})) << option.name << " is not covered";
  }
  const auto resolved = configured({"--preset", "demo", "--warmup-ratio", "0.07"}, 4);
  for (const auto& config : {Config{}, changed, resolved}) {
    const TemporaryFile file("print.conf", config_text(config));
    const auto result = parsed({"--config", file.path()});
    ASSERT_TRUE(result.problems.empty()) << result.problems[0];
    EXPECT_EQ(result.config, config);
    EXPECT_EQ(config_hash(result.config), config_hash(config));
  }
}

TEST(ConfigText, HasEveryOptionOnce) {
  const auto lines = parse_config_text(config_text(Config{}));
  ASSERT_EQ(lines.size(), options().size());
  for (std::size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(lines[i].key, options()[i].name);
}

TEST(ConfigHash, ChangesWithEveryOption) {
  const Config changed = everything_changed();
  for (const auto& option : options()) {
    Config config;
    ASSERT_TRUE(option.set(config, option.get(changed))) << option.name;
    EXPECT_NE(config_hash(config), config_hash(Config{})) << option.name;
  }
}

TEST(ConfigTable, GroupsAlignsAndNamesSources) {
  const auto result = parsed({"--hidden-size", "2048"});
  const std::string text = config_table(result.config, result.provenance);
  EXPECT_EQ(text.find("Model\n  hidden-size "), 0U) << text;
  EXPECT_TRUE(contains(text, " 2048  (command line)\n"));
  EXPECT_TRUE(contains(text, "\nData and output\n  data-dir "));
  EXPECT_TRUE(contains(text, "\n  peak-tflops "));
  EXPECT_FALSE(contains(config_table(result.config), "(command line)"));
}

}  // namespace
}  // namespace cuboid
