#include "measure.hpp"

#include <c10/core/InferenceMode.h>
#include <mpi.h>

#include <algorithm>
#include <cmath>

#include "cuboid/base/timer.hpp"
#include "cuboid/collective/cuda.hpp"

namespace cuboid::harness {
namespace {

constexpr double kSampleSeconds = 100e-6;  // a sample lasts at least so long
constexpr double kMostRepeats = 1000;
constexpr std::size_t kFewestSamples = 3;
constexpr std::size_t kMostSamples = 1000;

std::vector<void (*)()>& registrations() {
  static std::vector<void (*)()> all;
  return all;
}

// The times are those of the slowest rank, hence the same on all ranks, and so is this number.
int repeats_for(const Plan& plan) {
  constexpr double kLong = 0.05;  // one warm-up is enough: it touches memory, opens connections
  double seconds = slowest(plan.action);
  if (seconds < kLong) seconds = slowest(plan.action);
  if (seconds >= kSampleSeconds) return 1;
  return static_cast<int>(std::min(kMostRepeats, std::ceil(kSampleSeconds / seconds)));
}

}  // namespace

void add(const std::string& name, Body body) {
  // One iteration for Google Benchmark: measure() takes the samples.
  benchmark::RegisterBenchmark(name.c_str(),
                               [body = std::move(body)](benchmark::State& state) {
                                 const c10::InferenceMode no_autograd;
                                 body(state);
                               })
      ->Iterations(1)
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

Registration::Registration(void (*function)()) noexcept {
  registrations().push_back(function);
}
void Registration::run_all() {
  for (const auto function : registrations()) function();
}

double slowest(const std::function<void()>& action) {
  MPI_Barrier(MPI_COMM_WORLD);
  const Timer timer;
  action();
  if (world().processor().device.is_cuda()) check_cuda(cudaDeviceSynchronize());
  return world().largest(timer.seconds());
}

Times measure(benchmark::State& state, const Plan& plan) {
  const double wanted = world().settings().min_seconds;
  if (plan.prepare) plan.prepare();
  int repeats = 1;
  if (plan.prepare) {
    slowest(plan.action);
  } else {
    repeats = repeats_for(plan);
  }
  std::vector<double> seconds;
  double total = 0;
  const auto enough = [&] {
    if (wanted == 0) return !seconds.empty();
    return seconds.size() >= kMostSamples || (seconds.size() >= kFewestSamples && total >= wanted);
  };
  while (!enough()) {
    if (plan.prepare) plan.prepare();
    const double sample = slowest([&] {
      for (int i = 0; i < repeats; ++i) plan.action();
    });
    total += sample;
    seconds.push_back(sample / repeats / plan.counts_for);
  }
  return report(state, std::move(seconds));
}

Times report(benchmark::State& state, std::vector<double> seconds) {
  std::ranges::sort(seconds);
  const std::size_t middle = seconds.size() / 2;
  const double median =
      seconds.size() % 2 == 1 ? seconds[middle] : (seconds[middle - 1] + seconds[middle]) / 2;
  for (auto _ : state) state.SetIterationTime(median);
  const Times times = {median, seconds.front(), seconds.back(), seconds.size()};
  state.counters["min_seconds"] = times.min;
  state.counters["max_seconds"] = times.max;
  state.counters["samples"] = static_cast<double>(times.samples);
  return times;
}

void set_rate(benchmark::State& state, const Times& times, const std::string& unit, double amount,
              const Limit& limit) {
  state.counters[unit] = amount;
  state.counters[unit + "/s"] = amount / times.median;
  set_share(state, amount / times.median, limit);
}

void set_share(benchmark::State& state, double rate, const Limit& limit) {
  if (limit.rate <= 0) return;
  state.counters["limit"] = limit.rate;
  state.counters["share"] = rate / limit.rate;
  state.SetLabel(limit.name);
}

}  // namespace cuboid::harness
