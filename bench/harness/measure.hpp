// How every benchmark is timed: all ranks start together, and the slowest one's time counts.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "limits.hpp"
#include "world.hpp"

namespace cuboid::harness {

using Body = std::function<void(benchmark::State&)>;
// Adds a benchmark; from a function given to Registration.
void add(const std::string& name, Body body);

// A source of benchmarks says at namespace scope: const Registration kRegistration(register_all).
// They are registered once the command line has been read.
class Registration {
 public:
  explicit Registration(void (*function)()) noexcept;
  static void run_all();
};

// Seconds of `action` on the slowest rank, all starting together; device work included. Collective.
double slowest(const std::function<void()>& action);

// What is timed. Without `prepare`, actions too short for the clock are done many times in a row
// for one sample, as nccl-tests does.
struct Plan {
  std::function<void()> action;
  std::function<void()> prepare = {};  // before each action, not timed
  int counts_for = 1;                  // a round trip counts for 2 messages
};

// Seconds of one action, by sample.
struct Times {
  double median = 0, min = 0, max = 0;
  std::size_t samples = 0;
};

// Warms up, then takes samples until they last min_seconds in all: 3 to 1000 of them (1 where
// min_seconds is 0). The median is the benchmark's time. Collective.
Times measure(benchmark::State& state, const Plan& plan);
// Reports samples that were taken elsewhere.
Times report(benchmark::State& state, std::vector<double> seconds);

// Amount, amount a second and share of the limit: "FLOP", "bytes", "tokens". `amount` is of all
// ranks together.
void set_rate(benchmark::State& state, const Times& times, const std::string& unit, double amount,
              const Limit& limit = {});
void set_share(benchmark::State& state, double rate, const Limit& limit);

}  // namespace cuboid::harness
