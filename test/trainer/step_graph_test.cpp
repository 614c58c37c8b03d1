// ranks: 1
// When a step is run, captured or replayed, with a device that only keeps books.
#include "cuboid/trainer/step_graph.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

#include "cuboid/base/error.hpp"

namespace cuboid {
namespace {

using Ran = StepGraph::Ran;
using Shape = std::vector<std::int64_t>;

// Keeps what is given to it while it captures; does everything else at once.
class FakeDevice final : public GraphDevice {
 public:
  struct Log {
    std::vector<std::string> calls;
    int done = 0;      // pieces of work that the device did
    int captured = 0;  // in the graph
    bool captures = false;
    bool refuses_to_begin = false;
    bool refuses_to_end = false;
  };
  explicit FakeDevice(Log& log) : log_(log) {}

  void begin_capture() override {
    log_.calls.emplace_back("begin");
    if (log_.refuses_to_begin) throw SystemError("CUDA: no capture");
    log_.captures = true;
    log_.captured = 0;
  }
  void end_capture() override {
    log_.calls.emplace_back("end");
    log_.captures = false;
    if (log_.refuses_to_end) throw SystemError("CUDA: no graph");
  }
  void launch() override {
    log_.calls.emplace_back("launch");
    log_.done += log_.captured;
  }
  void discard() noexcept override {
    log_.calls.emplace_back("discard");
    log_.captures = false;
    log_.captured = 0;
  }

 private:
  Log& log_;
};

class StepGraphTest : public testing::Test {
 protected:
  StepGraph make(bool required = false, bool others = true) {
    return {std::make_unique<FakeDevice>(log_),
            {.is_required = required,
             .agree =
                 [this, others](bool mine) {
                   ++num_agreements_;
                   return mine && others;
                 },
             .say = [this](const std::string& line) { said_.push_back(line); }}};
  }

  // A step of three pieces of work, of which `fails_at` throws.
  StepWork work(int fails_at = -1, bool broken = false) {
    return {.begin = [this] { ++num_begins_; },
            .compute =
                [this, fails_at, broken] {
                  for (int i = 0; i < 3; ++i) {
                    if (i == fails_at && log_.captures)
                      broken ? throw std::logic_error("broken")
                             : throw std::runtime_error("no memory\nstack");
                    ++(log_.captures ? log_.captured : log_.done);
                  }
                },
            .abandon = [this] { ++num_abandoned_; }};
  }

  FakeDevice::Log log_;
  std::vector<std::string> said_;
  int num_begins_ = 0;
  int num_abandoned_ = 0;
  int num_agreements_ = 0;
};

TEST_F(StepGraphTest, OneStepWarmsUpTheSecondIsCapturedOthersAreReplayed) {
  StepGraph graph = make();
  const std::vector<Ran> wanted = {Ran::kEagerly, Ran::kCaptured, Ran::kReplayed, Ran::kReplayed};
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(graph.plan({8}, false), i == 0 ? Ran::kEagerly : wanted[i]);
    EXPECT_EQ(graph.run({8}, false, work()), wanted[i]) << i;
    EXPECT_EQ(log_.done, 3 * static_cast<int>(i + 1)) << "each step's work is done once, " << i;
    EXPECT_FALSE(graph.is_capturing());
  }
  EXPECT_EQ(num_begins_, 2) << "a replay begins nothing";
  EXPECT_EQ(num_agreements_, 1) << "ranks talk about a capture alone";
  EXPECT_TRUE(said_.empty());
}

TEST_F(StepGraphTest, WithoutADeviceStepsRunAsTheyAre) {
  StepGraph graph(nullptr, {});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(graph.run({8}, false, work()), Ran::kEagerly);
  EXPECT_EQ(log_.done, 12);
  EXPECT_EQ(num_begins_, 4);
}

TEST_F(StepGraphTest, AStepThatIsLookedAtRunsEagerlyAndTheGraphStays) {
  StepGraph graph = make();
  EXPECT_EQ(graph.run({8}, true, work()), Ran::kEagerly);  // and warms up
  EXPECT_EQ(graph.run({8}, false, work()), Ran::kCaptured);
  EXPECT_EQ(graph.run({8}, true, work()), Ran::kEagerly);
  EXPECT_EQ(graph.run({8}, false, work()), Ran::kReplayed);
  EXPECT_EQ(log_.done, 12);
}

TEST_F(StepGraphTest, AnotherShapeStartsOver) {
  StepGraph graph = make();
  for (int i = 0; i < 3; ++i) graph.run({8}, false, work());
  EXPECT_EQ(graph.run({4}, false, work()), Ran::kEagerly);
  EXPECT_EQ(log_.calls.back(), "discard") << "the old graph's memory goes before new is needed";
  EXPECT_EQ(graph.run({4}, false, work()), Ran::kCaptured);
  EXPECT_EQ(graph.run({4}, false, work()), Ran::kReplayed);
  EXPECT_EQ(log_.done, 18);
}

TEST_F(StepGraphTest, AStepThatCannotBeCapturedIsRunAndTheOthersAsWell) {
  for (const int place : {0, 1, 2, 3}) {
    log_ = {};
    log_.refuses_to_begin = place == 0;
    log_.refuses_to_end = place == 3;
    num_begins_ = num_abandoned_ = 0;
    said_.clear();
    StepGraph graph = make();
    graph.run({8}, false, work(place));
    EXPECT_EQ(graph.run({8}, false, work(place)), Ran::kEagerly);
    EXPECT_EQ(graph.run({8}, false, work(place)), Ran::kEagerly);
    EXPECT_EQ(log_.done, 9) << place;
    EXPECT_EQ(num_abandoned_, 1);
    EXPECT_EQ(num_begins_, 4) << "once more for the step that was abandoned";
    ASSERT_EQ(said_.size(), 1U);
    EXPECT_EQ(said_[0].find('\n'), std::string::npos) << said_[0];
    EXPECT_FALSE(graph.is_capturing());
  }
}

TEST_F(StepGraphTest, NobodyReplaysWhereOneRankCannot) {
  StepGraph graph = make(/*required=*/false, /*others=*/false);
  graph.run({8}, false, work());
  EXPECT_EQ(graph.run({8}, false, work()), Ran::kEagerly);
  EXPECT_EQ(log_.done, 6) << "the graph was not launched, the step was run";
  ASSERT_EQ(said_.size(), 1U);
  EXPECT_NE(said_[0].find("another rank"), std::string::npos) << said_[0];
}

TEST_F(StepGraphTest, WhereAGraphIsRequiredItsFailureIsAnError) {
  StepGraph graph = make(/*required=*/true);
  graph.run({8}, false, work());
  EXPECT_THROW(graph.run({8}, false, work(1)), SystemError);
}

TEST_F(StepGraphTest, ABrokenInvariantIsNoReasonToGoOn) {
  StepGraph graph = make();
  graph.run({8}, false, work());
  EXPECT_THROW(graph.run({8}, false, work(1, /*broken=*/true)), std::logic_error);
  EXPECT_FALSE(log_.captures) << "what was captured is given up first";
}

TEST(WhyNotCaptured, NamesWhatStandsAgainstIt) {
  const auto why = [](std::int64_t dp, std::int64_t tp, std::int64_t pp, bool gpu,
                      Backend backend) {
    return why_not_captured(
        {.data_parallel_size = dp, .tensor_parallel_size = tp, .pipeline_parallel_size = pp}, gpu,
        backend);
  };
  EXPECT_EQ(why(1, 1, 1, true, Backend::kMpi), "");
  EXPECT_EQ(why(4, 2, 1, true, Backend::kNccl), "");
  EXPECT_NE(why(1, 1, 1, false, Backend::kMpi).find("CPU"), std::string::npos);
  EXPECT_NE(why(1, 1, 2, true, Backend::kNccl).find("2 stages"), std::string::npos);
  EXPECT_NE(why(2, 1, 1, true, Backend::kMpi).find("MPI"), std::string::npos);
}

}  // namespace
}  // namespace cuboid
