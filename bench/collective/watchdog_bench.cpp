// What a watchdog costs while nothing hangs: a call into a communicator that does nothing, bare and
// watched. Its thread looks 2 to 20 times a second, for microseconds.
#include <memory>

#include "../harness/measure.hpp"
#include "cuboid/collective/watched_communicator.hpp"

namespace cuboid::harness {
namespace {

constexpr int kCalls = 1000;

class NoWork final : public Work {
 public:
  void wait() override {}
  bool poll() override { return true; }
};

class NoCommunicator final : public Communicator {
 public:
  NoCommunicator() : Communicator(0, 2, "none") {}
  PendingWork start_all_reduce(Buffer /*inout*/, ReduceOp /*op*/) override {
    return std::make_unique<NoWork>();
  }
  PendingWork start_all_gather(ConstBuffer /*send*/, Buffer /*receive*/,
                               std::span<const std::int64_t> /*counts*/) override {
    return std::make_unique<NoWork>();
  }
  PendingWork start_reduce_scatter(ConstBuffer /*send*/, Buffer /*receive*/, ReduceOp /*op*/,
                                   std::span<const std::int64_t> /*counts*/) override {
    return std::make_unique<NoWork>();
  }
  PendingWork start_broadcast(Buffer /*inout*/, int /*root*/) override {
    return std::make_unique<NoWork>();
  }
  PendingWork start_exchange(std::span<const Transfer> /*transfers*/) override {
    return std::make_unique<NoWork>();
  }
  void barrier() override {}

 private:
  void run_all_reduce(Buffer /*inout*/, ReduceOp /*op*/) override {}
};

void run_calls(benchmark::State& state, bool is_watched, void (*call)(Communicator&)) {
  ProgressBoard board;
  const auto comm = make_watched_communicator(std::make_unique<NoCommunicator>(),
                                              is_watched ? &board.add("none", {0, 1}) : nullptr);
  const Times times = measure(state, {.action = [&] {
                                for (int i = 0; i < kCalls; ++i) call(*comm);
                              }});
  state.counters["per_call_seconds"] = times.median / kCalls;
}

void block(Communicator& comm) {
  float value = 0;
  comm.all_reduce(buffer_of(std::span(&value, 1)));
}
void start_and_wait(Communicator& comm) {
  float value = 0;
  comm.start_all_reduce(buffer_of(std::span(&value, 1)), ReduceOp::kSum)->wait();
}

void register_all() {
  for (const bool is_watched : {false, true}) {
    const std::string how = is_watched ? "watched" : "bare";
    add("watchdog/blocking_call/" + how,
        [=](benchmark::State& state) { run_calls(state, is_watched, block); });
    add("watchdog/start_and_wait/" + how,
        [=](benchmark::State& state) { run_calls(state, is_watched, start_and_wait); });
  }
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
