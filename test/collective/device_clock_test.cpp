// ranks: 1
// The time line of a GPU against the host's clock; skipped where there is no GPU.
#include "cuboid/collective/device_clock.hpp"

#include <gtest/gtest.h>

#include "cuboid/base/step_recorder.hpp"
#include "cuboid/collective/cuda.hpp"

namespace cuboid {
namespace {

class DeviceClockTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)
      GTEST_SKIP() << "no CUDA device";
    check_cuda(cudaMalloc(&memory_, kBytes));
    recorder_.use_clock(make_device_clock(nullptr));
  }
  void TearDown() override { cudaFree(memory_); }
  void work() { check_cuda(cudaMemsetAsync(memory_, 1, kBytes, nullptr)); }
  static double seconds(const StepRecord& record, StepPart part) {
    return record.seconds[static_cast<std::size_t>(part)];
  }

  static constexpr std::size_t kBytes = std::size_t{256} << 20;
  void* memory_ = nullptr;
  StepRecorder recorder_;
};

TEST_F(DeviceClockTest, ASpanTakesAsLongAsTheDeviceDoes) {
  work();
  check_cuda(cudaDeviceSynchronize());
  const std::int64_t begin = steady_ns();
  recorder_.begin_step(1, Detail::kSpans);
  {
    const Span forward(&recorder_, StepPart::kForward, {.what = "forward"});
    for (int i = 0; i < 10; ++i) work();
  }
  {
    const Span backward(&recorder_, StepPart::kBackward, {.what = "backward"});
    for (int i = 0; i < 20; ++i) work();
  }
  recorder_.end_step();
  const std::int64_t given = steady_ns();
  EXPECT_TRUE(recorder_.take().empty()) << "the device is behind";
  const StepRecord record = recorder_.take(/*all=*/true).front();
  const std::int64_t end = steady_ns();
  // On the host's clock, within what it took; the host was done long before.
  EXPECT_GE(record.begin_ns, begin - 1'000'000);
  EXPECT_LE(record.end_ns, end + 1'000'000);
  EXPECT_GT(record.end_ns, given);
  const double forward = seconds(record, StepPart::kForward);
  EXPECT_GT(forward, 0.0);
  EXPECT_NEAR(seconds(record, StepPart::kBackward) / forward, 2.0, 0.3);
}

TEST_F(DeviceClockTest, StepsFollowEachOther) {
  std::vector<StepRecord> records;
  for (int step = 1; step <= 3; ++step) {
    recorder_.begin_step(step, Detail::kSums);
    const Span forward(nullptr, StepPart::kForward, {});
    work();
    recorder_.end_step();
    for (StepRecord& record : recorder_.take()) records.push_back(std::move(record));
  }
  for (StepRecord& record : recorder_.take(/*all=*/true)) records.push_back(std::move(record));
  ASSERT_EQ(records.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(records[i].step, static_cast<std::int64_t>(i) + 1);
    EXPECT_GT(records[i].end_ns, records[i].begin_ns);
    if (i == 0) continue;
    EXPECT_GE(records[i].begin_ns, records[i - 1].end_ns - 1000);
  }
}

}  // namespace
}  // namespace cuboid
