// ranks: 1 2
#include "cuboid/trainer/step_times.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cuboid/collective/mpi_communicator.hpp"
#include "cuboid/pipeline/schedule.hpp"

namespace cuboid {
namespace {

constexpr std::size_t kAll = kNumStepParts;

StepRecord record_of(std::int64_t step, double ms) {
  StepRecord record;
  record.step = step;
  // forward 1x, backward 2x, p2p 3x, ...
  for (std::size_t part = 0; part < kAll; ++part)
    record.seconds[part] = ms * 1e-3 * static_cast<double>(part + 1);
  return record;
}

// forward, backward, p2p, tp, dp, optimizer, data, other
StepTimeReport two_stages() {
  return {.shape = {.dp = 1, .tp = 1, .pp = 2},
          .num_steps = 8,
          .first_step = 3,
          .num_microbatches = 4,
          .ms = {{100, 200, 60, 0, 0, 10, 1, 2}, {100, 240, 16, 0, 0, 14, 1, 2}},
          .peak_memory_bytes = {3e9, 2e9},
          .peak_device_memory_bytes = {0, 5e9},
          .hosts = {.names = {"n1", "n2"}, .share_cores = false}};
}

TEST(StepTimes, TheFirstTwoStepsCountOnlyWhereThereAreNoOthers) {
  StepTimes times;
  EXPECT_EQ(times.num_steps(), 0);
  times.add(record_of(11, 100));
  times.add(record_of(12, 50));
  EXPECT_EQ(times.num_steps(), 2);
  EXPECT_EQ(times.first_step(), 11);
  EXPECT_NEAR(times.mean_ms()[1], 150, 1e-9);
  times.add(record_of(13, 10));
  times.add(record_of(14, 20));
  EXPECT_EQ(times.num_steps(), 2);
  EXPECT_EQ(times.first_step(), 13);
  EXPECT_NEAR(times.mean_ms()[0], 15, 1e-9);
  EXPECT_NEAR(times.mean_ms()[kAll - 1], 15.0 * kAll, 1e-9);
}

TEST(StepTimes, EveryRankKnowsAllRanksTimes) {
  MpiCommunicator control(MPI_COMM_WORLD, "control");
  StepTimes times;
  times.add(record_of(1, 10.0 * (control.rank() + 1)));
  const StepTimeReport report =
      gather_step_times(times, {.dp = control.size(), .tp = 1, .pp = 1}, 4, {}, control);
  ASSERT_EQ(report.ms.size(), static_cast<std::size_t>(control.size()));
  for (int rank = 0; rank < control.size(); ++rank) {
    EXPECT_NEAR(report.ms[static_cast<std::size_t>(rank)][1], 20.0 * (rank + 1), 1e-9);
  }
  EXPECT_EQ(report.slowest_rank(), control.size() - 1);
  ASSERT_EQ(report.peak_memory_bytes.size(), report.ms.size());
  EXPECT_GT(*std::min_element(report.peak_memory_bytes.begin(), report.peak_memory_bytes.end()),
            1e6);
  // Of a GPU, which no rank uses here.
  EXPECT_EQ(report.peak_device_memory_bytes, std::vector<double>(report.ms.size(), 0.0));
}

TEST(StepTimes, FiguresOfARun) {
  const StepTimeReport report = two_stages();
  EXPECT_DOUBLE_EQ(report.step_ms(), 373);
  EXPECT_DOUBLE_EQ(report.bubble(), 76.0 / (360 + 356));
  EXPECT_EQ(report.slowest_rank(), 1);
  EXPECT_NEAR(report.slowest_over_mean(), 354.0 / 332 - 1, 1e-12);
}

TEST(StepTimes, TheTableNamesPartsAndTheSlowestRank) {
  const std::string text = step_time_table(two_stages());
  const std::string expected =
      "Time of a step, mean of 8 steps from step 3 on\n"
      "  part       min ms  mean ms  max ms  % of step  longest on\n"
      "  forward    100.00   100.00  100.00       26.8  rank 0 on n1\n"
      "  backward   200.00   220.00  240.00       59.0  rank 1 on n2\n"
      "  p2p wait    16.00    38.00   60.00       10.2  rank 0 on n1\n"
      "  TP wait      0.00     0.00    0.00        0.0\n"
      "  DP wait      0.00     0.00    0.00        0.0\n"
      "  optimizer   10.00    12.00   14.00        3.2  rank 1 on n2\n"
      "  data         1.00     1.00    1.00        0.3  rank 0 on n1\n"
      "  other        2.00     2.00    2.00        0.5  rank 0 on n1\n"
      "  step       373.00   373.00  373.00      100.0  rank 0 on n1\n"
      "  Slowest: rank 1 on n2 (dp 0, tp 0, pp 1) computes 6.6 % longer than the mean\n"
      "  Pipeline bubble: 10.6 % measured, 20.0 % in theory ((p-1)/(m+p-1), p 2, m 4)\n";
  EXPECT_EQ(text, expected);
}

TEST(StepTimes, ReplayedStepsAreShownWhereThereAreSome) {
  StepTimeReport report = two_stages();
  EXPECT_EQ(nlohmann::json::parse(step_time_json(report, {}))["parts"].count("graph"), 0U);
  report.ms[1].back() = 627;
  EXPECT_NE(
      step_time_table(report).find("\n  graph        0.00   313.50   627.00       45.7  rank 1"),
      std::string::npos)
      << step_time_table(report);
  const auto json = nlohmann::json::parse(step_time_json(report, {}));
  EXPECT_EQ(json["parts"]["graph"]["max"], 627);
  EXPECT_EQ(json["ranks"][0]["ms"]["graph"], 0);
}

TEST(StepTimes, RanksThatShareCoresAreMarked) {
  StepTimeReport report = two_stages();
  report.hosts.share_cores = true;
  EXPECT_NE(step_time_table(report).find("Ranks share cores"), std::string::npos);
  EXPECT_TRUE(nlohmann::json::parse(step_time_json(report, {}))["ranks_share_cores"]);
}

TEST(StepTimes, TheFileForPrograms) {
  const auto json = nlohmann::json::parse(step_time_json(
      two_stages(), {.tokens_per_second = 1234.5, .mfu = 0.5, .mfu_convention = "palm"}));
  EXPECT_EQ(json["steps"], 8);
  EXPECT_EQ(json["first_step"], 3);
  EXPECT_EQ(json["step_ms"], 373);
  EXPECT_EQ(json["tokens_per_second"], 1234.5);
  EXPECT_EQ(json["mfu"], 0.5);
  EXPECT_EQ(json["mfu_convention"], "palm");
  EXPECT_EQ(json["parts"]["p2p_wait"]["max"], 60);
  EXPECT_EQ(json["parts"]["p2p_wait"]["slowest_rank"], 0);
  EXPECT_EQ(json["parts"]["backward"]["slowest_host"], "n2");
  EXPECT_EQ(json["bubble"]["theory"], bubble_fraction(2, 4));
  EXPECT_EQ(json["ranks"][1]["pp"], 1);
  EXPECT_EQ(json["ranks"][1]["peak_memory_bytes"], 2e9);
  EXPECT_FALSE(json["ranks"][0].contains("peak_device_memory_bytes"));
  EXPECT_EQ(json["ranks"][1]["peak_device_memory_bytes"], 5e9);
  EXPECT_EQ(json["ranks"][1]["ms"]["optimizer"], 14);
}

}  // namespace
}  // namespace cuboid
