// Google Benchmark under MPI: all ranks run the same benchmarks, rank 0 reports. Beside Google
// Benchmark's options: --all (every size and shape), --device=auto|cpu|cuda.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <ostream>
#include <string>
#include <vector>

#include "cuboid/base/error.hpp"
#include "harness/measure.hpp"
#include "harness/reporter.hpp"

namespace cuboid::harness {
namespace {

class SilentReporter : public benchmark::BenchmarkReporter {
 public:
  SilentReporter() {
    SetOutputStream(&nowhere_);
    SetErrorStream(&nowhere_);
  }
  bool ReportContext(const Context& /*context*/) override { return true; }
  void ReportRuns(const std::vector<Run>& /*runs*/) override {}

 private:
  std::ostream nowhere_{nullptr};
};

// Google Benchmark's own reporters where another format than the table is asked for.
bool wants_table(const std::vector<std::string>& arguments) {
  return std::ranges::none_of(arguments, [](const std::string& argument) {
    return argument.starts_with("--benchmark_format=") && argument != "--benchmark_format=console";
  });
}

int run(const MpiSession& session, std::vector<std::string> arguments) {
  const Settings settings = take_settings(arguments);
  const bool table = wants_table(arguments);
  // Rank 0 alone writes the output file, and speaks.
  if (session.rank() != 0)
    std::erase_if(arguments, [](const std::string& argument) {
      return argument.starts_with("--benchmark_out") || argument == "--help";
    });
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  int argc = static_cast<int>(argv.size());
  argv.push_back(nullptr);
  benchmark::Initialize(&argc, argv.data());
  if (argc > 1)
    throw UsageError("'" + std::string(argv[1]) +
                     "' is no option; legal: --all, --device=auto|cpu|cuda and those of Google "
                     "Benchmark, which --help lists");

  World world(session, settings);
  set_world(&world);
  world.add_context();
  Registration::run_all();
  SilentReporter silent;
  TableReporter console(world.description());
  if (session.rank() != 0)
    benchmark::RunSpecifiedBenchmarks(&silent);
  else if (table)
    benchmark::RunSpecifiedBenchmarks(&console);
  else
    benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  set_world(nullptr);
  return 0;
}

}  // namespace
}  // namespace cuboid::harness

int main(int argc, char** argv) {
  const cuboid::MpiSession session(&argc, &argv);
  try {
    return cuboid::harness::run(session, {argv, argv + argc});
  } catch (const cuboid::UsageError& error) {
    if (session.rank() == 0) std::fprintf(stderr, "%s: error: %s\n", argv[0], error.what());
    return 2;  // all ranks have the same command line
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: error on rank %d: %s\n", argv[0], session.rank(), error.what());
    session.abort(1);
  }
}
