// Google Benchmark under MPI: all ranks run the same benchmarks, rank 0 reports.
// A benchmark that communicates must run the same number of iterations on every rank
// (->Iterations(n)), and should report the slowest rank's time (->UseManualTime()).
#include <benchmark/benchmark.h>
#include <mpi.h>

#include <string>
#include <string_view>
#include <vector>

namespace {

class SilentReporter : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& /*context*/) override { return true; }
  void ReportRuns(const std::vector<Run>& /*runs*/) override {}
};

}  // namespace

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  int rank = 0;
  int size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  // Rank 0 alone writes the output file.
  std::vector<char*> arguments;
  for (char* argument : std::vector<char*>(argv, argv + argc)) {
    if (rank == 0 || !std::string_view(argument).starts_with("--benchmark_out")) {
      arguments.push_back(argument);
    }
  }
  int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  benchmark::Initialize(&count, arguments.data());
  const bool unknown = benchmark::ReportUnrecognizedArguments(count, arguments.data());
  if (!unknown) {
    benchmark::AddCustomContext("ranks", std::to_string(size));
    SilentReporter silent;
    if (rank == 0) {
      benchmark::RunSpecifiedBenchmarks();
    } else {
      benchmark::RunSpecifiedBenchmarks(&silent);
    }
  }
  benchmark::Shutdown();
  MPI_Finalize();
  return unknown ? 1 : 0;
}
