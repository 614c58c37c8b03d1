#include "reporter.hpp"

#include <algorithm>
#include <array>
#include <ostream>

#include "cuboid/base/text.hpp"

namespace cuboid::harness {
namespace {

constexpr int kNarrowest = 15;  // column of numbers

std::string with_prefix(double value, const char* unit) {
  constexpr std::array<const char*, 6> kPrefixes = {"", "k", "M", "G", "T", "P"};
  std::size_t prefix = 0;
  for (; value >= 999.95 && prefix + 1 < kPrefixes.size(); ++prefix) value /= 1000;
  return format("%.*f %s%s", value < 10 ? 2 : 1, value, kPrefixes[prefix], unit);
}

std::string as_time(double seconds) {
  if (seconds >= 1) return format("%.3f s", seconds);
  if (seconds >= 1e-3) return format("%.3f ms", seconds * 1e3);
  if (seconds >= 1e-6) return format("%.3f us", seconds * 1e6);
  return format("%.1f ns", seconds * 1e9);
}

// By the counter's name, which ends in its unit.
std::string cell(const std::string& name, double value) {
  if (name == "FLOP/s") return with_prefix(value, "FLOP/s");
  if (name == "bytes/s" || name == "algbw" || name == "busbw") return with_prefix(value, "B/s");
  if (name.ends_with("/s")) return with_prefix(value, "/s");
  if (name.ends_with("seconds")) return as_time(value);
  if (name.ends_with("bytes")) return short_bytes(value);
  return format("%.4g", value);
}

std::string title(const std::string& counter) {
  if (counter == "min_seconds") return "fastest";
  if (counter == "max_seconds") return "slowest";
  if (counter == "per_micro_batch_seconds") return "a micro-batch";
  if (counter.ends_with("_seconds")) return counter.substr(0, counter.size() - 8);
  if (counter.ends_with("_bytes")) return counter.substr(0, counter.size() - 6);
  return counter;
}

int width_of(const std::string& counter) {
  return std::max(kNarrowest, static_cast<int>(title(counter).size()) + 2);
}

// What the table shows: amounts and limits are for the file. The share comes last.
std::vector<std::string> columns_of(const benchmark::BenchmarkReporter::Run& run) {
  static const std::vector<std::string> kFirst = {"min_seconds", "max_seconds", "samples", "FLOP/s",
                                                  "bytes/s",     "algbw",       "busbw"};
  static const std::vector<std::string> kHidden = {"FLOP",  "bytes", "tokens", "limit",
                                                   "share", "m",     "n",      "k"};
  const auto among = [](const std::vector<std::string>& names, const std::string& name) {
    return std::ranges::find(names, name) != names.end();
  };
  std::vector<std::string> columns;
  for (const auto& name : kFirst)
    if (run.counters.contains(name)) columns.push_back(name);
  for (const auto& [name, value] : run.counters)
    if (!among(kFirst, name) && !among(kHidden, name)) columns.push_back(name);
  columns.emplace_back("share");
  return columns;
}

std::string share_text(const benchmark::BenchmarkReporter::Run& run) {
  const double limit = run.counters.at("limit");
  const bool flops = run.counters.contains("FLOP/s");
  return format("%9.1f %% of %s, ", 100 * run.counters.at("share"), run.report_label.c_str()) +
         with_prefix(limit, flops ? "FLOP/s" : "B/s");
}

}  // namespace

std::string plain_name(const std::string& name) {
  std::string plain = name;
  for (const char* suffix : {"/iterations:1", "/manual_time"}) {
    const auto at = plain.find(suffix);
    if (at != std::string::npos) plain.erase(at, std::string(suffix).size());
  }
  return plain;
}

bool TableReporter::ReportContext(const Context& context) {
  const std::size_t appended = std::string("/iterations:1/manual_time").size();
  name_width_ = std::max<std::size_t>(
      20, context.name_field_width - std::min(context.name_field_width, appended));
  GetOutputStream() << head_;
  return true;
}

void TableReporter::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) report(run);
  GetOutputStream().flush();
}

void TableReporter::report(const Run& run) {
  const std::string name = plain_name(run.benchmark_name());
  if (run.error_occurred) {
    GetOutputStream() << format("%-*s  %s\n", static_cast<int>(name_width_), name.c_str(),
                                run.error_message.c_str());
    return;
  }
  const auto columns = columns_of(run);
  const auto is_shown = [&](const std::string& column) {
    return std::ranges::find(columns_, column) != columns_.end();
  };
  if (!std::ranges::all_of(columns, is_shown)) print_header(columns);
  const double seconds =
      run.GetAdjustedRealTime() / benchmark::GetTimeUnitMultiplier(run.time_unit);
  std::string line = format("%-*s%*s", static_cast<int>(name_width_), name.c_str(), kNarrowest,
                            as_time(seconds).c_str());
  for (const auto& column : columns_) {
    const auto counter = run.counters.find(column);
    if (column == "share")
      line += counter == run.counters.end() ? "" : share_text(run);
    else
      line += format("%*s", width_of(column),
                     counter == run.counters.end() ? "" : cell(column, counter->second).c_str());
  }
  GetOutputStream() << line.substr(0, line.find_last_not_of(' ') + 1) << "\n";
}

void TableReporter::print_header(const std::vector<std::string>& columns) {
  std::string line = format("%-*s%*s", static_cast<int>(name_width_), "", kNarrowest, "median");
  for (const auto& column : columns)
    line += column == "share" ? "     share of the limit"
                              : format("%*s", width_of(column), title(column).c_str());
  GetOutputStream() << (columns_.empty() ? "" : "\n") << line << "\n";
  columns_ = columns;
}

}  // namespace cuboid::harness
