// ranks: 1
#include "cuboid/config/parse.hpp"

#include <gtest/gtest.h>

#include "config_testing.hpp"
#include "cuboid/config/option.hpp"

namespace cuboid {
namespace {

TEST(ParseOptions, DefaultsAreThoseOfConfig) {
  const auto result = parsed({});
  EXPECT_TRUE(result.problems.empty());
  EXPECT_EQ(result.config, Config{});
  EXPECT_TRUE(result.provenance.empty());
}

TEST(ParseOptions, TakesBothForms) {
  const auto config =
      parsed({"--hidden-size", "512", "--learning-rate=3e-4", "--seed", "7", "--tie-embeddings",
              "false", "--pipeline-schedule=gpipe", "--data-dir=--odd--"})
          .config;
  EXPECT_EQ(config.model.hidden_size, 512);
  EXPECT_EQ(config.optimizer.learning_rate, 3e-4);
  EXPECT_EQ(config.train.seed, 7);
  EXPECT_FALSE(config.model.tie_embeddings);
  EXPECT_EQ(config.parallel.pipeline_schedule, PipelineSchedule::kGpipe);
  EXPECT_EQ(config.data.data_dir, "--odd--");
}

TEST(ParseOptions, SwitchesAreForTheCaller) {
  const auto result = parsed({"--help", "--version", "--print-config", "--dry-run"});
  EXPECT_TRUE(result.help && result.version && result.print_config && result.dry_run);
  EXPECT_TRUE(result.problems.empty());
  EXPECT_TRUE(parsed({"-h"}).help);
  EXPECT_FALSE(parsed({}).help || parsed({}).version || parsed({}).dry_run);
}

TEST(ParseOptions, PrecedenceIsCommandLineFilePresetDefault) {
  const TemporaryFile file("precedence.conf", "num-layers = 3  # the file's\nseq-length = 99\n");
  const auto result = parsed({"--preset", "124m", "--config", file.path(), "--seq-length", "77"});
  ASSERT_TRUE(result.problems.empty());
  EXPECT_EQ(result.config.model.seq_length, 77);     // over file and preset
  EXPECT_EQ(result.config.model.num_layers, 3);      // over preset
  EXPECT_EQ(result.config.model.vocab_size, 50257);  // over default
  EXPECT_EQ(result.config.train.max_steps, 1000);    // default
  const auto source_of = [&](const std::string& option) {
    for (const auto& [name, source] : result.provenance) {
      if (name == option) return source;
    }
    return std::string();
  };
  EXPECT_EQ(source_of("seq-length"), "command line");
  EXPECT_EQ(source_of("num-layers"), file.path() + ":1");
  EXPECT_EQ(source_of("vocab-size"), "preset 124m");
  EXPECT_EQ(source_of("max-steps"), "");
}

TEST(ParseOptions, OrderOnTheCommandLineDoesNotMatter) {
  EXPECT_EQ(parsed({"--seq-length", "77", "--preset", "124m"}).config,
            parsed({"--preset", "124m", "--seq-length", "77"}).config);
}

TEST(ParseOptions, ThePresetOfTheCommandLineGoesBeforeThatOfTheFile) {
  const TemporaryFile file("preset.conf", "preset = 7b\n");
  EXPECT_EQ(parsed({"--config", file.path()}).config.model.hidden_size, 4096);
  EXPECT_EQ(parsed({"--config", file.path(), "--preset", "124m"}).config.model.hidden_size, 768);
}

TEST(ParseOptions, ResponseFilesAreWordsOfTheCommandLine) {
  const TemporaryFile file("words.rsp",
                           "# a comment\n--num-layers 3 --output-dir 'two words'\n--lr=1e-3\n");
  const auto result = parsed({"--preset", "124m", "@" + file.path(), "--seed", "5"});
  ASSERT_TRUE(result.problems.empty()) << result.problems[0];
  EXPECT_EQ(result.config.model.num_layers, 3);
  EXPECT_EQ(result.config.checkpoint.output_dir, "two words");
  EXPECT_EQ(result.config.optimizer.learning_rate, 1e-3);
  EXPECT_EQ(result.config.train.seed, 5);
}

TEST(ParseOptions, AHigherSourceReplacesWhatSaysTheSameInAnotherWay) {
  // shakespeare-char sets global-batch-size and warmup-steps.
  const auto config =
      parsed({"--preset", "shakespeare-char", "--num-microbatches", "3", "--warmup-ratio", "0.5"})
          .config;
  EXPECT_EQ(config.batch.global_batch_size, 0);
  EXPECT_EQ(config.batch.num_microbatches, 3);
  EXPECT_EQ(config.optimizer.warmup_steps, std::nullopt);
  // In one source both stand.
  const auto both = parsed({"--num-microbatches", "3", "--global-batch-size", "12"}).config;
  EXPECT_EQ(both.batch.global_batch_size, 12);
  EXPECT_EQ(both.batch.num_microbatches, 3);
}

struct AliasCase {
  std::vector<std::string> alias;
  std::vector<std::string> option;
};

TEST(ParseOptions, AliasesMeanTheirOptions) {
  const std::vector<AliasCase> cases{
      {{"--num-query-groups", "2"}, {"--num-key-value-heads", "2"}},
      {{"--position-embedding-type", "rope"}, {"--position-embedding", "rope"}},
      {{"--use-rotary-position-embeddings"}, {"--position-embedding", "rope"}},
      {{"--swiglu"}, {"--activation", "swiglu"}},
      {{"--openai-gelu"}, {"--activation", "gelu"}},
      {{"--untie-embeddings-and-output-weights"}, {"--tie-embeddings", "false"}},
      {{"--disable-bias-linear"}, {"--linear-bias", "false"}},
      {{"--init-method-std", "0.01"}, {"--init-std", "0.01"}},
      {{"--tensor-model-parallel-size", "2"}, {"--tensor-parallel-size", "2"}},
      {{"--pipeline-model-parallel-size", "2"}, {"--pipeline-parallel-size", "2"}},
      {{"--lr", "0.5"}, {"--learning-rate", "0.5"}},
      {{"--min-lr", "0"}, {"--min-learning-rate", "0"}},
      {{"--lr-decay-style", "WSD"}, {"--lr-schedule", "wsd"}},
      {{"--lr-warmup-fraction", "0.1"}, {"--warmup-ratio", "0.1"}},
      {{"--lr-warmup-iters", "9"}, {"--warmup-steps", "9"}},
      {{"--train-iters", "9"}, {"--max-steps", "9"}},
      {{"--eval-iters", "9"}, {"--eval-steps", "9"}},
      {{"--exit-duration-in-mins", "9"}, {"--time-limit", "9"}},
      {{"--save", "there"}, {"--output-dir", "there"}},
      {{"--async-save"}, {"--save-async", "true"}},
      {{"--save-retain-interval", "9"}, {"--keep-every", "9"}},
      {{"--distributed-backend", "nccl"}, {"--comm-backend", "nccl"}},
      {{"--bf16"}, {"--dtype", "bf16"}},
  };
  std::size_t num_aliases = 0;
  for (const auto& option : options()) num_aliases += option.aliases.size();
  EXPECT_EQ(cases.size(), num_aliases) << "an alias without a case here";
  for (const auto& [alias, option] : cases) {
    const auto result = parsed(alias);
    EXPECT_TRUE(result.problems.empty()) << alias[0];
    EXPECT_EQ(result.config, parsed(option).config) << alias[0];
    ASSERT_EQ(result.provenance.size(), 1U) << alias[0];
    EXPECT_EQ("--" + result.provenance[0].option, option[0]);
  }
  EXPECT_EQ(parsed({"--position-embedding", "learned_absolute"}).config, Config{});
  EXPECT_EQ(parsed({"--normalization", "RMSNorm"}).config.model.normalization,
            Normalization::kRmsNorm);
}

struct MistakeCase {
  std::vector<std::string> arguments;
  std::vector<std::string> parts;  // of its one problem
};

TEST(ParseOptions, TimesAreThoseOfSlurm) {
  const auto seconds = [](const std::string& text) {
    return parsed({"--time-limit", text}).config.train.time_limit;
  };
  EXPECT_EQ(seconds("90"), 90 * 60);
  EXPECT_EQ(seconds("1:30"), 90);
  EXPECT_EQ(seconds("2:00:05"), 7205);
  EXPECT_EQ(seconds("1-12"), 36 * 3600);
  EXPECT_EQ(seconds("1-0:30"), 86400 + 1800);
  EXPECT_EQ(seconds("1-02:03:04"), 86400 + 7384);
  EXPECT_EQ(seconds("auto"), 0);
  EXPECT_EQ(parsed({"--exit-duration-in-mins", "5"}).config.train.time_limit, 300);
  const auto* option = find_option("time-limit");
  EXPECT_EQ(option->get(parsed({"--time-limit", "90"}).config), "01:30:00");
  EXPECT_EQ(option->get(parsed({"--time-limit", "1-02:03:04"}).config), "1-02:03:04");
  for (const char* bad : {"0", "0:00", "-5", "1:2:3:4", "1-", "-1:00", "5m", "1:x", "99999-0",
                          "9999999999999999999", "1-2-3", ":", ""})
    EXPECT_EQ(parsed({std::string("--time-limit=") + bad}).problems.size(), 1U) << bad;
}

TEST(ParseOptions, EachMistakeIsOneProblem) {
  const std::vector<MistakeCase> cases{
      {{"--hidden-siz", "512"}, {"unknown option '--hidden-siz': did you mean '--hidden-size'?"}},
      {{"--hidden"}, {"unknown option '--hidden'"}},  // never a prefix
      {{"--tensor-model-paralel-size=2"}, {"did you mean '--tensor-model-parallel-size'?"}},
      {{"--zzzzzzzz"}, {"unknown option '--zzzzzzzz': --help lists the options"}},
      {{"--load", "x"}, {"unknown option '--load': see '--resume'"}},
      {{"--hidden-size"}, {"--hidden-size has no value", "1 to 1048576"}},
      {{"--hidden-size="}, {"--hidden-size has no value", "1 to 1048576"}},
      {{"--hidden-size", "--seed", "3"}, {"--hidden-size has no value"}},
      {{"--hidden-size", "abc"}, {"--hidden-size abc", "1 to 1048576", "default 768"}},
      {{"--hidden-size", "0"}, {"--hidden-size 0", "1 to 1048576"}},
      {{"--hidden-size", "-5"}, {"--hidden-size -5", "1 to 1048576"}},
      {{"--hidden-size", "1_000"}, {"--hidden-size 1_000"}},
      {{"--hidden-size", "512x"}, {"--hidden-size 512x"}},
      {{"--hidden-size", "1e3"}, {"--hidden-size 1e3"}},
      {{"--hidden-size", " 512"}, {"--hidden-size ' 512'"}},
      {{"--hidden-size", ""}, {"--hidden-size"}},
      {{"--seed", "9223372036854775808"}, {"--seed 9223372036854775808", "9223372036854775807"}},
      {{"--learning-rate", "nan"}, {"--learning-rate nan", "0 to 10"}},
      {{"--learning-rate", "inf"}, {"--learning-rate inf", "0 to 10"}},
      {{"--learning-rate", "-1e-4"}, {"--learning-rate -1e-4", "0 to 10"}},
      {{"--learning-rate", "1e-400"}, {"--learning-rate 1e-400"}},
      {{"--adam-beta2", "1"}, {"--adam-beta2 1", "from 0 to below 1"}},
      {{"--adam-eps", "0"}, {"--adam-eps 0", "above 0 to 1"}},
      {{"--lr", "3e4"}, {"--lr 3e4", "0 to 10"}},
      {{"--lr-schedule", "step"}, {"--lr-schedule step", "cosine|linear|constant|wsd"}},
      {{"--tie-embeddings", "yes"}, {"--tie-embeddings yes", "true|false"}},
      {{"--dtype", "fp16"}, {"--dtype fp16", "fp32|bf16"}},
      {{"--num-attention-heads", "0"}, {"--num-attention-heads 0", "auto, or a whole number"}},
      {{"--data-dir", ""}, {"--data-dir ''", "a path"}},
      {{"--data-dir", "a\nb"}, {"--data-dir a\\x0ab", "control"}},
      {{"--output-dir", std::string(4097, 'x')}, {"--output-dir xxx", "4096"}},
      {{"--seed", "1", "--seed", "1"}, {"--seed 1: given twice (also as --seed 1)"}},
      {{"--lr", "1", "--learning-rate", "1"}, {"given twice (also as --lr 1)"}},
      {{"--bf16", "--dtype", "fp32"}, {"--dtype fp32: given twice (also as --bf16)"}},
      {{"--help", "--help"}, {"--help: given twice"}},
      {{"--help=now"}, {"--help takes no value"}},
      {{"--swiglu=true"}, {"--swiglu takes no value"}},
      {{"run.conf"}, {"unexpected argument 'run.conf'"}},
      {{"-x"}, {"unexpected argument '-x'"}},
      {{"--"}, {"unexpected argument '--'"}},
      {{"--seed", "1", "2"}, {"unexpected argument '2' after '--seed'"}},
      {{"--dry-run", "false"}, {"unexpected argument 'false' after '--dry-run'"}},
      {{"--preset", "125m"}, {"--preset 125m", "did you mean '124m'?", "774m"}},
      {{"--config", "/nowhere/x.conf"}, {"--config /nowhere/x.conf", "no such file"}},
      {{"--config", "/"}, {"--config /", "not a regular file"}},
      {{"--config", "/dev/zero"}, {"--config /dev/zero", "not a regular file"}},
      {{"@/nowhere/x.rsp"}, {"response file @/nowhere/x.rsp", "no such file"}},
  };
  for (const auto& [arguments, parts] : cases) {
    const auto problems = parsed(arguments).problems;
    ASSERT_EQ(problems.size(), 1U) << arguments[0] << " " << arguments.back();
    for (const auto& part : parts) {
      EXPECT_TRUE(contains(problems[0], part)) << problems[0] << "\nlacks " << part;
    }
  }
}

TEST(ParseOptions, MistakesOfAConfigFileNameItsLine) {
  const TemporaryFile file("mistakes.conf",
                           "# comment\n"
                           "hidden-siz = 512\n"
                           "num-layers = many\n"
                           "seed 3\n"
                           "\n"
                           "lr = 1\n"
                           "learning-rate = 1\n"
                           "help = true\n"
                           "swiglu = yes\n"
                           "output-dir = \"open\n");
  const auto problems = parsed({"--config", file.path()}).problems;
  const std::vector<std::string> parts{
      ":2: unknown option 'hidden-siz': did you mean 'hidden-size'?",
      ":4: is not of the form key = value",
      ":7: learning-rate = 1: given twice (also in " + file.path() + ":6: lr = 1)",
      ":8: help = true: legal on the command line only",
      ":9: swiglu = yes: legal: true",
      ":10: has a quoted value that is not closed",
      ":3: num-layers = many: not legal; legal: a whole number from 1 to 16384 (default 12)"};
  ASSERT_EQ(problems.size(), parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(problems[i].find(file.path() + parts[i]), 0U) << problems[i];
  }
}

TEST(ParseOptions, GivesUpOnAFileThatIsNone) {
  std::string junk;
  for (int i = 0; i < 1000; ++i) junk += "\x01junk\n";
  const TemporaryFile file("junk.conf", junk);
  const auto problems = parsed({"--config", file.path()}).problems;
  EXPECT_EQ(problems.size(), 21U);
  EXPECT_TRUE(contains(problems.back(), "the rest of the file was not read"));
  const TemporaryFile large("large.conf", std::string((1 << 20) + 1, '#'));
  EXPECT_TRUE(contains(parsed({"--config", large.path()}).problems.at(0), "larger than 1 MiB"));
}

TEST(ParseOptions, MistakesOfAResponseFileNameIt) {
  const TemporaryFile file("bad.rsp", "--seed x\n@other.rsp\n--num-layerz 3\n");
  const auto problems = parsed({"@" + file.path()}).problems;
  ASSERT_EQ(problems.size(), 3U);
  for (const auto& problem : problems) EXPECT_TRUE(contains(problem, file.path())) << problem;
  EXPECT_TRUE(contains(problems[0], "cannot name another"));
  EXPECT_TRUE(contains(problems[1], "did you mean '--num-layers'?"));
  EXPECT_TRUE(contains(problems[2], "--seed x: not legal"));
  const TemporaryFile escape("escape.rsp", "--output-dir a\\q\n");
  EXPECT_TRUE(contains(parsed({"@" + escape.path()}).problems.at(0), "escape"));
}

TEST(ParseOptions, ListsAllProblemsAtOnce) {
  const Facts facts{.world_size = 6, .data = DataFacts{}};
  const auto problems = problems_of({"--hidden-size", "abc", "--sed", "3", "--lr-schedule", "step",
                                     "stray", "--tensor-parallel-size", "4", "--min-lr", "1"},
                                    facts);
  const std::vector<std::string> parts{"'--sed'",
                                       "'stray'",
                                       "--hidden-size abc",
                                       "--lr-schedule",
                                       "does not divide the world of 6 ranks",
                                       "--min-learning-rate 1"};
  ASSERT_EQ(problems.size(), parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    EXPECT_TRUE(contains(problems[i], parts[i])) << problems[i];
  }
}

TEST(ParseOptions, AnUnreadValueCausesNoProblemElsewhere) {
  // 5 heads divide what was meant, though not the default width.
  EXPECT_EQ(problems_of({"--hidden-size", "64O", "--num-attention-heads", "5"}).size(), 1U);
  EXPECT_EQ(problems_of({"--hidden-sizes", "640", "--num-attention-heads", "5"}).size(), 1U);
  EXPECT_EQ(problems_of({"--preset", "none", "--num-attention-heads", "5"}).size(), 1U);
}

TEST(HelpText, NamesEveryOptionWithItsDefault) {
  const std::string text = help_text();
  for (const auto& option : options()) {
    EXPECT_TRUE(contains(text, "--" + option.name + " ")) << option.name;
    for (const auto& alias : option.aliases) {
      EXPECT_TRUE(contains(text, "--" + alias.name)) << alias.name;
    }
  }
  for (const char* part : {"Model:", "Parallelism:", "Batch:", "Optimizer:", "Training:",
                           "Data and output:", "Runtime:", "General:", "--preset NAME", "--dry-run",
                           "default 768", "3e-04]. Also: --lr."}) {
    EXPECT_TRUE(contains(text, part)) << part;
  }
}

}  // namespace
}  // namespace cuboid
