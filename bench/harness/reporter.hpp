// The console's table: aligned columns with units that people read.
#pragma once

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

namespace cuboid::harness {

// A name without what Google Benchmark appends to it.
std::string plain_name(const std::string& name);

class TableReporter : public benchmark::BenchmarkReporter {
 public:
  // `head` goes before the table.
  explicit TableReporter(std::string head) : head_(std::move(head)) {}
  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;

 private:
  void report(const Run& run);
  void print_header(const std::vector<std::string>& columns);

  std::string head_;
  std::size_t name_width_ = 0;
  std::vector<std::string> columns_;  // of the header printed last; a row may lack some
};

}  // namespace cuboid::harness
