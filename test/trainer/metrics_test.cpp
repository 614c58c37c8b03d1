// ranks: 1
#include "cuboid/trainer/metrics.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cuboid/trainer/output_folder.hpp"

namespace cuboid {
namespace {

namespace fs = std::filesystem;

StepMetrics step(std::int64_t number) {
  return {.step = number,
          .loss = 10.5432,
          .grad_norm = 1.0 / 3.0,
          .learning_rate = 1.2e-4,
          .tokens = 4096 * number,
          .samples_per_second = 123.45,
          .tokens_per_second = 126412.8,
          .step_ms = 8.1,
          .mfu = 0.4123,
          .mfu_convention = "palm",
          .sample_digest = "0123456789abcdef",
          .validation_loss = {}};
}

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("cuboid-metrics-" + std::to_string(getpid()))) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] std::string path() const { return path_; }
  [[nodiscard]] std::vector<std::int64_t> steps() const {
    std::ifstream in(path_ / "metrics.jsonl");
    std::vector<std::int64_t> result;
    for (std::string line; std::getline(in, line);) {
      result.push_back(nlohmann::json::parse(line)["step"].get<std::int64_t>());
    }
    return result;
  }

 private:
  fs::path path_;
};

TEST(LogLine, ReadsAsPromised) {
  EXPECT_EQ(log_line(step(100)),
            "Step 100 | Loss: 10.5432 | LR: 1.20e-04 | Throughput: 123.45 samples/s | Tokens/s: "
            "126,413 | Grad norm: 0.3333 | Step: 8.1 ms | MFU: 41.2%");
}

TEST(JsonLine, KeepsFullPrecision) {
  StepMetrics metrics = step(7);
  metrics.validation_loss = 2.0 / 3.0;
  const auto object = nlohmann::json::parse(json_line(metrics));
  EXPECT_EQ(object["grad_norm"].get<double>(), 1.0 / 3.0);
  EXPECT_EQ(object["validation_loss"].get<double>(), 2.0 / 3.0);
  EXPECT_EQ(object["mfu_convention"], "palm");
  EXPECT_EQ(object["sample_digest"], "0123456789abcdef");
  EXPECT_FALSE(nlohmann::json::parse(json_line(step(7))).contains("validation_loss"));
}

TEST(LogInterval, SpeaksForAllItsSteps) {
  LogInterval interval;
  StepMetrics fast = step(1);
  fast.step_ms = 100;
  fast.samples_per_second = 80;  // 8 samples
  StepMetrics slow = step(2);
  slow.step_ms = 300;
  slow.samples_per_second = 80.0 / 3;  // 8 samples
  interval.add(fast);
  interval.add(slow);
  const StepMetrics mean = interval.flush();
  EXPECT_EQ(mean.step, 2);
  EXPECT_DOUBLE_EQ(mean.step_ms, 200);
  EXPECT_DOUBLE_EQ(mean.samples_per_second, 40);
}

TEST(MetricsFile, DropsStepsThatAResumedRunRepeatsAndKeepsTheOldFile) {
  const Folder folder;
  {
    MetricsFile file(folder.path(), 0);
    for (std::int64_t i = 1; i <= 5; ++i) file.write(json_line(step(i)));
  }
  {
    MetricsFile file(folder.path(), 3);
    file.write(json_line(step(4)));
  }
  EXPECT_EQ(folder.steps(), (std::vector<std::int64_t>{1, 2, 3, 4}));
  EXPECT_TRUE(fs::exists(folder.path() + "/metrics-before-3.jsonl"));
  {
    MetricsFile file(folder.path(), 3);
  }
  EXPECT_TRUE(fs::exists(folder.path() + "/metrics-before-3-2.jsonl")) << "no old file is replaced";
}

TEST(MetricsFile, ALineThatWasCutShortIsLeftOut) {
  for (const char* end : {"{\"step\":2,\"lo", "{\"step\":2}"}) {
    const Folder folder;
    const std::string path = folder.path() + "/metrics.jsonl";
    std::ofstream(path) << "{\"step\":1}\n" << end;
    MetricsFile(folder.path(), 9).write("{\"step\":3}");
    std::ifstream file(path);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    const std::string kept = std::string(end).ends_with("}") ? "{\"step\":2}\n" : "";
    EXPECT_EQ(text, "{\"step\":1}\n" + kept + "{\"step\":3}\n");
    EXPECT_FALSE(fs::exists(path + ".partial"));
  }
}

TEST(OutputFolder, AnEarlierRunIsSetAside) {
  const Folder folder;
  EXPECT_EQ(set_earlier_run_aside(folder.path()), "");
  std::ofstream(folder.path() + "/checkpoint-5.h5") << "x";
  std::ofstream(folder.path() + "/notes.txt") << "mine";
  EXPECT_EQ(set_earlier_run_aside(folder.path()), folder.path() + "/run-1");
  EXPECT_TRUE(fs::exists(folder.path() + "/run-1/checkpoint-5.h5"));
  EXPECT_TRUE(fs::exists(folder.path() + "/notes.txt"));
  std::ofstream(folder.path() + "/metrics.jsonl") << "x";
  EXPECT_EQ(set_earlier_run_aside(folder.path()), folder.path() + "/run-2");
}

TEST(OutputFolder, AFileIsNoFolder) {
  const Folder folder;
  std::ofstream(folder.path() + "/file") << "x";
  EXPECT_EQ(check_output_dir(folder.path() + "/new/deep").size(), 0U);
  EXPECT_EQ(check_output_dir(folder.path() + "/file").size(), 1U);
  EXPECT_EQ(check_output_dir(folder.path() + "/file/below").size(), 1U);
}

}  // namespace
}  // namespace cuboid
