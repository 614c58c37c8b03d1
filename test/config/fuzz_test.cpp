// ranks: 1
// timeout: 300
// Random command lines and files with a fixed seed: each gives a UsageError or a legal
// configuration.
#include <gtest/gtest.h>

#include <random>

#include "config_testing.hpp"
#include "cuboid/config/config_file.hpp"
#include "cuboid/config/model_size.hpp"
#include "cuboid/config/option.hpp"
#include "cuboid/config/preset.hpp"
#include "cuboid/config/print.hpp"

namespace cuboid {
namespace {

class Fuzzer {
 public:
  explicit Fuzzer(unsigned seed) : random_(seed) {}

  std::size_t below(std::size_t n) {
    return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_);
  }
  bool one_in(std::size_t n) { return below(n) == 0; }

  std::string bytes() {
    std::string text(below(12), '\0');
    for (auto& c : text) c = static_cast<char>(1 + below(255));  // a word of argv holds no NUL
    return text;
  }

  const Option& option() { return options()[below(options().size())]; }

  std::string name() {
    const Option& chosen = option();
    std::string name = chosen.name;
    if (one_in(4) && !chosen.aliases.empty()) {
      name = chosen.aliases[below(chosen.aliases.size())].name;
    }
    if (one_in(10))
      name = std::vector<std::string>{"preset", "help", "dry-run", "version"}[below(4)];
    if (one_in(15)) name[below(name.size())] = static_cast<char>(1 + below(255));
    if (one_in(20)) name = bytes();
    return name;
  }

  // Mostly what some option takes, sometimes anything.
  std::string value() {
    static const std::vector<std::string> kOdd{"",
                                               "-",
                                               "--",
                                               "auto",
                                               "0",
                                               "-1",
                                               "nan",
                                               "1e308",
                                               "1e-320",
                                               "0x10",
                                               "2,5",
                                               "+3",
                                               " 4",
                                               "4 ",
                                               "1e",
                                               "=",
                                               "==",
                                               "#",
                                               "\"",
                                               "@",
                                               "9223372036854775807",
                                               "18446744073709551616",
                                               "1048576",
                                               "1073741824",
                                               "true",
                                               "bf16",
                                               "rope",
                                               "wsd",
                                               "124m",
                                               "7b",
                                               "none",
                                               "-0",
                                               "-0.0"};
    if (one_in(3)) return kOdd[below(kOdd.size())];
    if (one_in(10)) return bytes();
    if (one_in(3)) return std::to_string(std::uniform_real_distribution<>(0, 1)(random_));
    return std::to_string(std::int64_t{1} << below(12));
  }

  std::vector<std::string> command_line() {
    std::vector<std::string> words;
    const std::size_t num_options = below(7);
    for (std::size_t i = 0; i < num_options; ++i) {
      if (one_in(12)) words.push_back(value());
      if (one_in(3)) {
        words.push_back("--" + name() + "=" + value());
      } else {
        words.push_back("--" + name());
        if (!one_in(8)) words.push_back(value());
      }
    }
    return words;
  }

  // Few options with likely values, so that many lines are legal.
  std::vector<std::string> likely_command_line() {
    static const std::vector<std::string> kNames{
        "hidden-size", "num-layers",       "num-attention-heads",    "tensor-parallel-size",
        "seq-length",  "micro-batch-size", "pipeline-parallel-size", "global-batch-size"};
    std::vector<std::string> words;
    if (one_in(2)) words = {"--preset", presets()[below(presets().size())].name};
    const std::size_t first = below(kNames.size());
    const std::size_t num_options = below(4);
    for (std::size_t i = 0; i < num_options; ++i) {
      words.push_back("--" + kNames[(first + i) % kNames.size()]);
      words.push_back(std::to_string(std::int64_t{1} << below(12)));
    }
    return words;
  }

 private:
  std::mt19937 random_;
};

// Whether the words make a legal configuration, which must then hold together.
bool is_legal(const std::vector<std::string>& words, std::int64_t ranks) {
  const Facts facts{.world_size = ranks, .data = DataFacts{}};
  const auto result = parse_options(words);
  Config config;
  try {
    config = finish(result, facts);
  } catch (const UsageError& error) {
    EXPECT_FALSE(error.problems().empty());
    for (const auto& problem : error.problems()) EXPECT_FALSE(problem.empty());
    return false;
  }
  EXPECT_TRUE(result.problems.empty());
  EXPECT_TRUE(find_problems(config, facts).empty());
  const auto& grid = config.parallel;
  EXPECT_EQ(grid.data_parallel_size * grid.tensor_parallel_size * grid.pipeline_parallel_size,
            ranks);
  EXPECT_EQ(
      config.batch.global_batch_size,
      config.batch.micro_batch_size * config.batch.num_microbatches * grid.data_parallel_size);
  EXPECT_EQ(config.model.num_attention_heads % grid.tensor_parallel_size, 0);
  EXPECT_EQ(config.model.head_dim() * config.model.num_attention_heads, config.model.hidden_size);
  EXPECT_GT(num_parameters(config.model), 0);
  Config again;
  for (const auto& line : parse_config_text(config_text(config))) {
    EXPECT_TRUE(find_option(line.key)->set(again, line.value)) << line.key;
  }
  EXPECT_EQ(again, config);
  find_warnings(config);
  return true;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += "[" + word + "] ";
  return text;
}

TEST(Fuzz, AnyCommandLineIsRefusedOrLegal) {
  Fuzzer fuzzer(20240520);
  int num_legal = 0;
  constexpr int kLines = 6000;
  for (int i = 0; i < kLines; ++i) {
    const auto words = i % 2 == 0 ? fuzzer.command_line() : fuzzer.likely_command_line();
    const std::int64_t ranks = std::int64_t{1} << fuzzer.below(5);
    SCOPED_TRACE(joined(words));
    num_legal += is_legal(words, ranks) ? 1 : 0;
    if (testing::Test::HasFailure()) break;
  }
  // Both outcomes must be common, or nothing was tried.
  EXPECT_GT(num_legal, kLines / 20);
  EXPECT_LT(num_legal, kLines * 19 / 20);
}

TEST(Fuzz, AnyFileIsRefusedOrLegal) {
  Fuzzer fuzzer(20240801);
  for (int i = 0; i < 1000; ++i) {
    std::string text;
    const std::size_t num_lines = fuzzer.below(6);
    for (std::size_t line = 0; line < num_lines; ++line) {
      text += fuzzer.name() + (fuzzer.one_in(8) ? "" : " = ") + fuzzer.value();
      text += fuzzer.one_in(10) ? fuzzer.bytes() : "\n";
    }
    if (fuzzer.one_in(5)) text += std::string(1, '\0') + fuzzer.bytes();
    const TemporaryFile file("fuzz.txt", text);
    SCOPED_TRACE(text);
    is_legal({"--config", file.path()}, 2);
    is_legal({"@" + file.path()}, 2);
    if (testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace cuboid
