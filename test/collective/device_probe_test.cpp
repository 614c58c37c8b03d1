// ranks: 1
// What the watchdog learns of a device that answers, and of one that does not.
#include "cuboid/collective/device_probe.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <memory>
#include <string>

#include "cuboid/base/timer.hpp"
#include "cuboid/collective/watchdog.hpp"
#include "cuboid/collective/watched_communicator.hpp"

namespace cuboid {
namespace {

class NoWork final : public Work {
 public:
  void wait() override {}
  bool poll() override { return false; }
};

// How far it is, and whether a question to it returns, is what a test says.
struct Device {
  std::atomic<std::uint64_t> num_reached = 0;
  std::atomic<std::uint64_t> num_complete = 0;
  std::atomic<bool> is_stuck = false;
};

class FakeCommunicator final : public Communicator {
 public:
  explicit FakeCommunicator(Device& device) : Communicator(0, 2, "gradient"), device_(device) {}
  PendingWork start_all_reduce(Buffer /*inout*/, ReduceOp /*op*/) override { return give(); }
  PendingWork start_all_gather(ConstBuffer /*send*/, Buffer /*receive*/,
                               std::span<const std::int64_t> /*counts*/) override {
    return give();
  }
  PendingWork start_reduce_scatter(ConstBuffer /*send*/, Buffer /*receive*/, ReduceOp /*op*/,
                                   std::span<const std::int64_t> /*counts*/) override {
    return give();
  }
  PendingWork start_broadcast(Buffer /*inout*/, int /*root*/) override { return give(); }
  PendingWork start_exchange(std::span<const Transfer> /*transfers*/) override { return give(); }
  void barrier() override {}
  [[nodiscard]] std::uint64_t num_given() const override { return num_given_; }
  [[nodiscard]] DeviceProgress device_progress() override {
    while (device_.is_stuck) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return {.num_reached = device_.num_reached, .num_complete = device_.num_complete, .error = {}};
  }

 private:
  PendingWork give() {
    ++num_given_;
    return std::make_unique<NoWork>();
  }
  Device& device_;
  std::uint64_t num_given_ = 0;
};

void within_a_minute(const std::function<bool()>& holds) {
  for (const Timer timer; !holds() && timer.seconds() < 60.0;)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(holds());
}

class DeviceProbeTest : public testing::Test {
 protected:
  void receive() { comm_->start_receive(buffer_of(value_), 1)->wait(); }

  float value_ = 0;
  Device device_;
  ProgressBoard board_;
  Channel& channel_ = board_.add("gradient", {0, 1});
  std::unique_ptr<Communicator> comm_ =
      make_watched_communicator(std::make_unique<FakeCommunicator>(device_), &channel_);
};

TEST_F(DeviceProbeTest, AnOperationWaitsFromItsReachToItsEnd) {
  EXPECT_FALSE(channel_.has_device());
  receive();
  EXPECT_TRUE(channel_.has_device());
  const DeviceProbe probe(board_, 0.001);
  EXPECT_FALSE(channel_.see(probe.is_silent()).wait);
  device_.num_reached = 1;
  within_a_minute([&] { return channel_.see().wait.has_value(); });
  const WaitSeen wait = *channel_.see().wait;
  EXPECT_STREQ(wait.operation.verb, "receive");
  EXPECT_EQ(wait.operation.number, 1U);
  EXPECT_EQ(wait.wait % 2, 0U);
  device_.num_complete = 1;
  within_a_minute([&] { return !channel_.see().wait; });
}

// The call of the driver that asks may wait for what the whole rank waits for.
TEST_F(DeviceProbeTest, ADeviceThatSaysNothingIsAWaitInTheNextOperation) {
  device_.is_stuck = true;
  const DeviceProbe probe(board_, 0.001, /*patience=*/0.05);
  within_a_minute([&] { return probe.is_silent(); });
  // Nothing was given: it is not known to be about communication.
  EXPECT_FALSE(channel_.see(probe.is_silent()).wait);
  receive();
  ASSERT_TRUE(channel_.see(probe.is_silent()).wait);
  const std::uint64_t wait = channel_.see(probe.is_silent()).wait->wait;
  device_.is_stuck = false;
  within_a_minute([&] { return !channel_.see(probe.is_silent()).wait; });
  // It counts as one wait with the one that is seen once the device answers.
  device_.num_reached = 1;
  within_a_minute([&] { return channel_.see(probe.is_silent()).wait.has_value(); });
  EXPECT_EQ(channel_.see(probe.is_silent()).wait->wait, wait);
}

TEST_F(DeviceProbeTest, TheWatchdogEndsAJobWhoseDeviceSaysNothing) {
  const auto hang = [] {
    Watchdog watchdog(MPI_COMM_SELF, {.timeout = 1.0,
                                      .prefix = "cuboid: error: ",
                                      .name_of = [](int) { return std::string("rank 0"); },
                                      .node_of = {0},
                                      .abort_job = [](int) {}});
    Device device;
    const auto comm = make_watched_communicator(std::make_unique<FakeCommunicator>(device),
                                                &watchdog.board().add("gradient", {0, 0}));
    float value = 0;
    device.is_stuck = true;
    const PendingWork work = comm->start_receive(buffer_of(value), 1);
    std::this_thread::sleep_for(std::chrono::seconds(30));
    std::_Exit(1);
  };
  EXPECT_EXIT(hang(), testing::ExitedWithCode(6), "waits in receive #1 of gradient");
}

}  // namespace
}  // namespace cuboid
