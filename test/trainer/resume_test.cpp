// ranks: 1
#include "cuboid/trainer/resume.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "cuboid/base/error.hpp"
#include "cuboid/checkpoint/folder.hpp"
#include "cuboid/checkpoint/save.hpp"
#include "cuboid/config/option.hpp"
#include "cuboid/config/resolve.hpp"
#include "cuboid/trainer/output_folder.hpp"

namespace cuboid {
namespace {

namespace fs = std::filesystem;

Config resolved() {
  Config config;
  config.model.hidden_size = 128;
  config.model.vocab_size = 256;
  resolve(config, {.world_size = 1, .data = {}});
  return config;
}

Metadata saved_with(const Config& config, std::int64_t step = 0) {
  Metadata metadata;
  metadata.step = step;
  metadata.grid = {.dp = 1, .tp = 1, .pp = 1};
  for (const auto& option : options())
    metadata.options.emplace_back(option.name, option.get(config));
  return metadata;
}

class Resume : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = fs::temp_directory_path() / "cuboid-resume-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    config_.output_dir = name;
    config_.resume = "auto";
  }
  void TearDown() override { fs::remove_all(config_.output_dir); }

  [[nodiscard]] std::string path(std::int64_t step) const {
    return checkpoint_path(config_.output_dir, step);
  }
  void save(std::int64_t step) const {
    float value = 1.0F;
    const TensorSlice slice{.name = "parameters/w",
                            .shape = {1},
                            .offset = {0},
                            .extent = {1},
                            .data = buffer_of(value)};
    save_checkpoint(path(step), MPI_COMM_WORLD, std::vector{slice}, saved_with(Config(), step));
  }
  void cut(std::int64_t step) const { fs::resize_file(path(step), fs::file_size(path(step)) - 9); }
  [[nodiscard]] std::vector<std::string> problems() const {
    try {
      choose_checkpoint(config_);
    } catch (const UsageError& error) {
      return error.problems();
    }
    return {};
  }
  CheckpointConfig config_;
};

TEST_F(Resume, AutoTakesTheNewestWholeFile) {
  EXPECT_EQ(choose_checkpoint(config_).path, "");
  save(9);
  save(10);
  save(100);
  EXPECT_EQ(choose_checkpoint(config_).path, path(100));
  EXPECT_EQ(choose_checkpoint(config_).metadata->step, 100);
  EXPECT_TRUE(choose_checkpoint(config_).passed_over.empty());
  cut(100);
  const ResumeChoice choice = choose_checkpoint(config_);
  EXPECT_EQ(choice.path, path(10));
  ASSERT_EQ(choice.passed_over.size(), 1U);
  EXPECT_NE(choice.passed_over[0].find(path(100)), std::string::npos) << choice.passed_over[0];
  EXPECT_EQ(choose_checkpoint(config_, 10).path, path(9));
  EXPECT_EQ(choose_checkpoint(config_, 9).path, "");
}

TEST_F(Resume, AutoDoesNotCountWhatIsUnfinishedOrNamedOtherwise) {
  save(10);
  std::ofstream(partial_path(path(20))) << "half";
  std::ofstream(config_.output_dir + "/checkpoint-30.hdf5") << "other";
  EXPECT_EQ(choose_checkpoint(config_).path, path(10));
}

TEST_F(Resume, AutoStartsNothingAnewWhereEverythingIsDamaged) {
  save(9);
  save(10);
  cut(9);
  cut(10);
  const auto all = problems();
  ASSERT_EQ(all.size(), 3U);
  EXPECT_NE(all[0].find(path(10)), std::string::npos);
  EXPECT_NE(all[1].find(path(9)), std::string::npos);
  EXPECT_NE(all[2].find("--resume none"), std::string::npos);
}

TEST_F(Resume, AFileThatIsNamedIsThatFile) {
  save(9);
  save(10);
  config_.resume = path(9);
  EXPECT_EQ(choose_checkpoint(config_).path, path(9));
  cut(9);
  EXPECT_EQ(problems().size(), 1U);
  config_.resume = path(11);
  ASSERT_EQ(problems().size(), 1U);
  EXPECT_NE(problems()[0].find(path(11)), std::string::npos);
  config_.resume = "none";
  EXPECT_EQ(choose_checkpoint(config_).path, "");
}

TEST_F(Resume, AFailingSystemIsNotDamage) {
  save(9);
  save(10);
  config_.resume = path(10);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  EXPECT_THROW(choose_checkpoint(config_), SystemError);
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(choose_checkpoint(config_).path, path(10));
}

TEST(Contradictions, EachOptionOfTheModelIsNamed) {
  const Config then = resolved();
  EXPECT_TRUE(find_contradictions(then, saved_with(then), "x.h5").empty());
  Config now = then;
  now.model.hidden_size = 64;
  now.model.normalization = Normalization::kRmsNorm;
  now.train.seed = 5;
  now.model.dropout = 0.5;
  now.optimizer.learning_rate = 1.0;
  const auto problems = find_contradictions(now, saved_with(then), "x.h5");
  ASSERT_EQ(problems.size(), 3U);
  EXPECT_EQ(problems[0],
            "--hidden-size 64 contradicts checkpoint 'x.h5', which was saved with --hidden-size "
            "128; legal: --hidden-size 128, or --resume none");
  EXPECT_NE(problems[1].find("--normalization rmsnorm"), std::string::npos);
  EXPECT_NE(problems[2].find("--seed 5"), std::string::npos);
}

TEST(Contradictions, EveryOptionOfTheModelCounts) {
  // All but dropout and init-std: with one of them written down otherwise, there is a problem.
  const Config config = resolved();
  for (const auto& option : options()) {
    Metadata metadata = saved_with(config);
    for (auto& [name, value] : metadata.options)
      if (name == option.name) value += "x";
    const bool counts =
        option.name == "seed" || (option.group == OptionGroup::kModel && option.name != "dropout" &&
                                  option.name != "init-std");
    EXPECT_EQ(find_contradictions(config, metadata, "x.h5").size(), counts ? 1U : 0U)
        << option.name;
  }
}

TEST(Changes, AreThoseThatTrainingFeels) {
  const Config then = resolved();
  EXPECT_TRUE(find_changes(then, saved_with(then)).empty());
  Config now = then;
  now.optimizer.learning_rate = 1e-4;
  now.batch.global_batch_size = 32;
  now.batch.micro_batch_size = 1;
  now.parallel.tensor_parallel_size = 2;
  now.checkpoint.output_dir = "elsewhere";
  EXPECT_EQ(
      find_changes(now, saved_with(then)),
      (std::vector<std::string>{"global-batch-size 4 -> 32", "learning-rate 3e-04 -> 1e-04"}));
}

TEST_F(Resume, LaterCheckpointsAreSetAside) {
  save(9);
  save(10);
  save(11);
  const std::string folder = config_.output_dir;
  EXPECT_EQ(set_later_checkpoints_aside(folder, 11), "");
  const std::string moved = set_later_checkpoints_aside(folder, 9);
  EXPECT_EQ(moved, folder + "/run-1");
  EXPECT_EQ(steps_in(folder), std::vector<std::int64_t>{9});
  EXPECT_EQ(steps_in(moved), (std::vector<std::int64_t>{11, 10}));
}

TEST_F(Resume, AFolderIsItselfUnderAnyName) {
  const std::string folder = config_.output_dir;
  save(9);
  fs::create_directory_symlink(folder, folder + "/link");
  fs::create_directory(folder + "/other");
  EXPECT_TRUE(is_in_folder(path(9), folder));
  EXPECT_TRUE(is_in_folder(folder + "/link/checkpoint-9.h5", folder));
  EXPECT_TRUE(is_in_folder(folder + "//./checkpoint-9.h5", folder));
  EXPECT_FALSE(is_in_folder(folder + "/other/checkpoint-9.h5", folder));
  EXPECT_FALSE(is_in_folder(folder + "/none/checkpoint-9.h5", folder));
}

}  // namespace
}  // namespace cuboid
