// ranks: 1
#include "cuboid/base/step_recorder.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <stdexcept>

namespace cuboid {
namespace {

// Time as the test sets it.
class SetClock final : public StepClock {
 public:
  explicit SetClock(std::int64_t& now, bool lags = false) : now_(now), lags_(lags) {}
  std::int64_t mark() override { return now_; }
  void resolve(std::vector<std::int64_t>& marks) override {
    for (std::int64_t& mark : marks) mark *= 10;
  }
  void align() override {}
  [[nodiscard]] bool lags() const override { return lags_; }

 private:
  std::int64_t& now_;
  bool lags_;
};

double seconds(const StepRecord& record, StepPart part) {
  return record.seconds[static_cast<std::size_t>(part)];
}

class StepRecorderTest : public ::testing::Test {
 protected:
  void use(bool lags = false) { recorder_.use_clock(std::make_unique<SetClock>(now_, lags)); }
  void SetUp() override { use(); }
  // A step of 100 marks' time: backward 30..90, in it tp 40..55 with dp 50..52 inside.
  void record_step(std::int64_t step, Detail detail) {
    now_ = 0;
    recorder_.begin_step(step, detail);
    now_ = 30;
    {
      const Span backward(&recorder_, StepPart::kBackward,
                          {.what = "backward", .micro_batch = 3, .chunk = 0});
      now_ = 40;
      {
        const Span tp(&recorder_, StepPart::kTpWait,
                      {.what = "all_reduce", .communicator = "tp", .bytes = 64});
        now_ = 50;
        {
          const Span dp(&recorder_, StepPart::kDpWait, {.what = "poll"});
          now_ = 52;
        }
        now_ = 55;
      }
      now_ = 90;
    }
    now_ = 100;
    recorder_.end_step();
  }

  std::int64_t now_ = 0;
  StepRecorder recorder_;
};

TEST_F(StepRecorderTest, APauseRecordsNothingAndKeepsWhatIsOpen) {
  recorder_.begin_step(1, Detail::kSpans);
  EXPECT_TRUE(recorder_.keeps_spans());
  {
    const Span outer(&recorder_, StepPart::kGraph, {.what = "graph"});
    now_ = 10;
    for (const bool pauses : {true, false}) {
      const RecordingPause pause(recorder_, pauses);
      EXPECT_EQ(recorder_.keeps_spans(), !pauses);
      const Span inner(&recorder_, StepPart::kForward, {.what = "forward"});
      now_ += 10;
    }
  }
  recorder_.end_step();
  const auto records = recorder_.take();
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records.front().slices.size(), 3U) << "step, graph and the second forward";
  EXPECT_DOUBLE_EQ(seconds(records.front(), StepPart::kForward), 100e-9);
  EXPECT_DOUBLE_EQ(seconds(records.front(), StepPart::kGraph), 200e-9);
}

TEST_F(StepRecorderTest, TimeBelongsToTheInnermostSpan) {
  record_step(7, Detail::kSums);
  const auto records = recorder_.take();
  ASSERT_EQ(records.size(), 1U);
  const StepRecord& record = records.front();
  EXPECT_EQ(record.step, 7);
  // SetClock's marks are tens of nanoseconds.
  EXPECT_DOUBLE_EQ(seconds(record, StepPart::kOther), 400e-9);
  EXPECT_DOUBLE_EQ(seconds(record, StepPart::kBackward), 450e-9);
  EXPECT_DOUBLE_EQ(seconds(record, StepPart::kTpWait), 130e-9);
  EXPECT_DOUBLE_EQ(seconds(record, StepPart::kDpWait), 20e-9);
  EXPECT_DOUBLE_EQ(std::accumulate(record.seconds.begin(), record.seconds.end(), 0.0), 1000e-9);
  EXPECT_EQ(record.end_ns - record.begin_ns, 1000);
  EXPECT_TRUE(record.slices.empty());
  EXPECT_TRUE(recorder_.take().empty());
}

TEST_F(StepRecorderTest, ADetailedStepKeepsItsSpans) {
  record_step(1, Detail::kSpans);
  const StepRecord record = recorder_.take().front();
  ASSERT_EQ(record.slices.size(), 4U);
  EXPECT_EQ(record.slices[0].begin_ns, 0);
  EXPECT_EQ(record.slices[0].end_ns, 1000);
  EXPECT_EQ(label_text(record.slices[1].label), "backward mb 3 chunk 0");
  EXPECT_EQ(record.slices[1].part, StepPart::kBackward);
  EXPECT_EQ(label_text(record.slices[2].label), "tp all_reduce");
  EXPECT_EQ(record.slices[2].begin_ns, 400);
  EXPECT_EQ(record.slices[2].end_ns, 550);
  EXPECT_EQ(record.slices[3].end_ns, 520);
}

TEST_F(StepRecorderTest, ALaggingClocksStepComesWithTheNextOrAtTheEnd) {
  use(/*lags=*/true);
  EXPECT_FALSE(recorder_.counts_host_time());
  record_step(1, Detail::kSums);
  EXPECT_TRUE(recorder_.take().empty());
  record_step(2, Detail::kSums);
  auto records = recorder_.take();
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records.front().step, 1);
  EXPECT_DOUBLE_EQ(seconds(records.front(), StepPart::kBackward), 450e-9);
  records = recorder_.take(/*all=*/true);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records.front().step, 2);
}

TEST_F(StepRecorderTest, NothingIsRecordedOutsideOfSteps) {
  {
    const Span span(&recorder_, StepPart::kForward, {.what = "forward"});
  }
  {
    const Span span(nullptr, StepPart::kForward, {.what = "forward"});
  }
  EXPECT_EQ(recorder_.begin_flight(StepPart::kP2pWait, {}), 0U);
  recorder_.end_flight(1);
  EXPECT_TRUE(recorder_.take(/*all=*/true).empty());
}

TEST_F(StepRecorderTest, FlightsThatLandedAreKept) {
  recorder_.use_clock(make_host_clock());
  recorder_.begin_step(1, Detail::kSpans);
  const std::size_t lost = recorder_.begin_flight(StepPart::kP2pWait, {.what = "lost"});
  const std::size_t flight = recorder_.begin_flight(StepPart::kDpWait, {.what = "bucket"});
  EXPECT_NE(lost, flight);
  recorder_.end_flight(flight);
  recorder_.end_step();
  const StepRecord record = recorder_.take().front();
  ASSERT_EQ(record.flights.size(), 1U);
  EXPECT_EQ(record.flights[0].label.what, "bucket");
  EXPECT_LE(record.begin_ns, record.flights[0].begin_ns);
  EXPECT_LE(record.flights[0].begin_ns, record.flights[0].end_ns);
  EXPECT_LE(record.flights[0].end_ns, record.end_ns);
  recorder_.begin_step(2, Detail::kSums);
  EXPECT_EQ(recorder_.begin_flight(StepPart::kDpWait, {}), 0U);
  recorder_.end_step();
}

TEST_F(StepRecorderTest, MisuseIsAnError) {
  recorder_.begin_step(1, Detail::kSums);
  EXPECT_THROW(recorder_.begin_step(2, Detail::kSums), std::logic_error);
  EXPECT_THROW(recorder_.close(), std::logic_error);
  recorder_.open(StepPart::kForward, {.what = "forward"});
  EXPECT_THROW(recorder_.end_step(), std::logic_error);
  recorder_.close();
  recorder_.end_step();
  EXPECT_THROW(recorder_.end_step(), std::logic_error);
}

class Listener final : public SpanObserver {
 public:
  void opened(const SpanLabel& label) override { heard += "(" + label_text(label); }
  void closed() override { heard += ")"; }
  std::string heard;
};

TEST_F(StepRecorderTest, AnObserverHearsTheSpansOfDetailedSteps) {
  Listener listener;
  recorder_.observe_with(&listener);
  record_step(1, Detail::kSums);
  EXPECT_EQ(listener.heard, "");
  record_step(2, Detail::kSpans);
  EXPECT_EQ(listener.heard, "(step(backward mb 3 chunk 0(tp all_reduce(poll))))");
}

}  // namespace
}  // namespace cuboid
