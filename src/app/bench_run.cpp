#include "cuboid/app/bench_run.hpp"

#include <algorithm>

#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

BenchFigures measure(CollectiveBenchmark& benchmark, const BenchArguments& arguments,
                     const BenchRanks& ranks, const CollectiveCase& one) {
  const bool takes_part = ranks.group.size() == ranks.ranks;
  double seconds = 0.0;
  if (takes_part) {
    seconds = benchmark.time(one, static_cast<int>(arguments.warmups),
                             static_cast<int>(arguments.iterations));
  } else {
    ranks.everyone.barrier();
  }
  seconds = over_ranks(seconds, arguments.average, ranks.control);
  ranks.everyone.all_reduce(buffer_of(seconds), ReduceOp::kMax);

  BenchFigures figures = {.seconds = seconds, .wrong = {}};
  figures.algorithm = algorithm_bandwidth(size_of(one, ranks.ranks), seconds);
  figures.bus = figures.algorithm * bus_factor(one.collective, ranks.ranks);
  if (arguments.checks == 0) return figures;
  std::int64_t wrong = 0;
  // Round 0 is what the timed operations ran on.
  for (int round = 1; takes_part && round <= arguments.checks; ++round)
    wrong += benchmark.check(one, round);
  ranks.everyone.all_reduce(buffer_of(wrong));
  figures.wrong = wrong;
  return figures;
}

template <typename Visit>
void for_each_figure(const BenchResult& result, Visit&& visit) {
  for (const BenchRow& row : result.rows)
    for (const auto* figures : {&row.out_of_place, &row.in_place})
      if (*figures) visit(**figures);
}

// Seven characters whatever the size, as nccl-tests has it.
std::string microseconds(double seconds) {
  const double us = seconds * 1e6;
  return format(us >= 10000 ? "%7.0f" : (us >= 100 ? "%7.1f" : "%7.2f"), us);
}

std::string cells(const BenchFigures& figures) {
  const std::string wrong = figures.wrong ? std::to_string(*figures.wrong) : std::string("N/A");
  return format("  %s  %6.2f  %6.2f  %6s", microseconds(figures.seconds).c_str(), figures.algorithm,
                figures.bus, wrong.c_str());
}

}  // namespace

std::int64_t BenchResult::wrong() const {
  std::int64_t sum = 0;
  for_each_figure(*this, [&](const BenchFigures& figures) { sum += figures.wrong.value_or(0); });
  return sum;
}

double BenchResult::average_bus() const {
  double sum = 0.0;
  double count = 0.0;
  for_each_figure(*this, [&](const BenchFigures& figures) {
    sum += figures.bus;
    count += 1.0;
  });
  return count > 0.0 ? sum / count : 0.0;
}

BenchmarkMemory memory_for(const std::vector<CollectiveCase>& cases, int ranks) {
  BenchmarkMemory all;
  for (CollectiveCase one : cases) {
    for (const bool in_place : {false, true}) {
      if (in_place ? !runs_in_place(one.collective) : !runs_out_of_place(one.collective)) continue;
      one.in_place = in_place;
      const BenchmarkMemory needed = memory_for(one, ranks);
      all.first = std::max(all.first, needed.first);
      all.second = std::max(all.second, needed.second);
    }
  }
  return all;
}

BenchResult run_benchmarks(const BenchArguments& arguments, const BenchRanks& ranks, Buffer first,
                           Buffer second, const std::function<void(const BenchRow&)>& print) {
  CollectiveBenchmark benchmark(ranks.group, ranks.everyone, first, second);
  BenchResult result;
  for (CollectiveCase one : arguments.cases(ranks.ranks)) {
    BenchRow row = {
        .one = one, .bytes = size_of(one, ranks.ranks), .out_of_place = {}, .in_place = {}};
    for (const bool in_place : {false, true}) {
      if (in_place ? !runs_in_place(one.collective) : !runs_out_of_place(one.collective)) continue;
      one.in_place = in_place;
      (in_place ? row.in_place : row.out_of_place) = measure(benchmark, arguments, ranks, one);
    }
    print(row);
    result.rows.push_back(row);
  }
  return result;
}

std::string bench_heading(Collective collective) {
  std::string name = format("# %-50s", std::string(name_of(collective)).c_str());
  std::string titles =
      format("#%11s  %12s  %8s  %6s  %6s", "size", "count", "type", "redop", "root");
  std::string units = format("#%11s  %12s  %8s  %6s  %6s", "(B)", "(elements)", "", "", "");
  for (const bool in_place : {false, true}) {
    if (in_place ? !runs_in_place(collective) : !runs_out_of_place(collective)) continue;
    name += format("  %15s%-16s", "", in_place ? "in-place" : "out-of-place");
    titles += format("  %7s  %6s  %6s  %6s", "time", "algbw", "busbw", "#wrong");
    units += format("  %7s  %6s  %6s  %6s", "(us)", "(GB/s)", "(GB/s)", "");
  }
  for (std::string* line : {&name, &titles, &units}) line->erase(line->find_last_not_of(' ') + 1);
  return name + "\n" + titles + "\n" + units + "\n";
}

std::string bench_line(const BenchRow& row) {
  const CollectiveCase& one = row.one;
  const std::string op(reduces(one.collective) ? name_of(one.op) : "none");
  const int root = one.collective == Collective::kBroadcast ? one.root : -1;
  std::string text = format("%12lld  %12lld  %8s  %6s  %6d", static_cast<long long>(row.bytes),
                            static_cast<long long>(one.count),
                            std::string(name_of(one.dtype)).c_str(), op.c_str(), root);
  for (const auto* figures : {&row.out_of_place, &row.in_place})
    if (*figures) text += cells(**figures);
  return text + "\n";
}

std::string bench_ending(const BenchResult& result) {
  const std::int64_t wrong = result.wrong();
  return format("# Out of bounds values : %lld %s\n# Avg bus bandwidth    : %g GB/s\n",
                static_cast<long long>(wrong), wrong == 0 ? "OK" : "FAILED", result.average_bus());
}

}  // namespace cuboid
