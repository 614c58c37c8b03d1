#include "cuboid/trainer/step_times.hpp"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <utility>

#include "cuboid/base/text.hpp"
#include "cuboid/launch/memory.hpp"
#include "cuboid/pipeline/schedule.hpp"
#include "cuboid/trainer/device_memory.hpp"

namespace cuboid {
namespace {

constexpr std::int64_t kWarmUps = 2;

std::size_t index(StepPart part) {
  return static_cast<std::size_t>(part);
}

double compute_ms(const PartTimes& ms) {
  return ms[index(StepPart::kForward)] + ms[index(StepPart::kBackward)] +
         ms[index(StepPart::kOptimizer)];
}

// Steps that are replayed are the exception: without any there is nothing to show of them.
bool is_shown(const StepTimeReport& report, StepPart part) {
  return part != StepPart::kGraph || std::ranges::any_of(report.ms, [](const PartTimes& ms) {
           return ms[index(StepPart::kGraph)] > 0.0;
         });
}

double sum(const PartTimes& ms) {
  return std::accumulate(ms.begin(), ms.end(), 0.0);
}

// Of one part over the ranks.
struct Spread {
  double min = 0.0;
  double mean = 0.0;
  double max = 0.0;
  int longest_on = 0;  // rank
};

Spread spread_of(const StepTimeReport& report, const std::function<double(const PartTimes&)>& of) {
  std::vector<double> values;
  for (const PartTimes& ms : report.ms) values.push_back(of(ms));
  // The first of equals.
  const auto high = std::max_element(values.begin(), values.end());
  return {.min = *std::min_element(values.begin(), values.end()),
          .mean = std::accumulate(values.begin(), values.end(), 0.0) /
                  static_cast<double>(values.size()),
          .max = *high,
          .longest_on = static_cast<int>(high - values.begin())};
}

Spread spread_of(const StepTimeReport& report, std::size_t part) {
  return spread_of(report, [part](const PartTimes& ms) { return ms[part]; });
}

std::string rank_text(const StepTimeReport& report, int rank) {
  return format("rank %d on %s", rank, report.hosts.of(rank).c_str());
}

// As people read it: "forward", "p2p wait", "TP wait".
std::string title_of(StepPart part) {
  switch (part) {
    case StepPart::kP2pWait: return "p2p wait";
    case StepPart::kTpWait: return "TP wait";
    case StepPart::kDpWait: return "DP wait";
    default: return std::string(name_of(part));
  }
}

std::vector<std::string> table_row(const StepTimeReport& report, const std::string& name,
                                   const Spread& spread) {
  const std::string share = format("%.1f", 100.0 * spread.mean / report.step_ms());
  if (report.ms.size() == 1) return {name, format("%.2f", spread.mean), share};
  return {name,
          format("%.2f", spread.min),
          format("%.2f", spread.mean),
          format("%.2f", spread.max),
          share,
          spread.max > 0.0 ? rank_text(report, spread.longest_on) : ""};
}

nlohmann::ordered_json json_of(const StepTimeReport& report, const PartTimes& ms) {
  nlohmann::ordered_json object;
  for (std::size_t part = 0; part < kNumStepParts; ++part) {
    if (!is_shown(report, static_cast<StepPart>(part))) continue;
    object[std::string(name_of(static_cast<StepPart>(part)))] = ms[part];
  }
  return object;
}

}  // namespace

void StepTimes::Sum::add(const StepRecord& record) {
  if (steps == 0) first_step = record.step;
  ++steps;
  for (std::size_t part = 0; part < kNumStepParts; ++part) seconds[part] += record.seconds[part];
}

void StepTimes::add(const StepRecord& record) {
  (first_two_.steps < kWarmUps ? first_two_ : later_).add(record);
}

std::int64_t StepTimes::num_steps() const {
  return counted().steps;
}

std::int64_t StepTimes::first_step() const {
  return counted().first_step;
}

PartTimes StepTimes::mean_ms() const {
  PartTimes ms{};
  const auto steps = static_cast<double>(std::max<std::int64_t>(counted().steps, 1));
  for (std::size_t part = 0; part < kNumStepParts; ++part) {
    ms[part] = counted().seconds[part] * 1e3 / steps;
  }
  return ms;
}

double StepTimeReport::step_ms() const {
  return spread_of(*this, sum).mean;
}

double StepTimeReport::bubble() const {
  double waited = 0.0;
  double all = 0.0;
  for (const PartTimes& rank : ms) {
    waited += rank[index(StepPart::kP2pWait)];
    all += rank[index(StepPart::kForward)] + rank[index(StepPart::kBackward)] +
           rank[index(StepPart::kTpWait)] + rank[index(StepPart::kP2pWait)];
  }
  return all > 0.0 ? waited / all : 0.0;
}

int StepTimeReport::slowest_rank() const {
  return spread_of(*this, compute_ms).longest_on;
}

double StepTimeReport::slowest_over_mean() const {
  const Spread spread = spread_of(*this, compute_ms);
  return spread.mean > 0.0 ? spread.max / spread.mean - 1.0 : 0.0;
}

StepTimeReport gather_step_times(const StepTimes& times, const GridShape& shape,
                                 std::int64_t num_microbatches, const RankHosts& hosts,
                                 Communicator& control) {
  StepTimeReport report{.shape = shape,
                        .num_steps = times.num_steps(),
                        .first_step = times.first_step(),
                        .num_microbatches = num_microbatches,
                        .ms = std::vector<PartTimes>(static_cast<std::size_t>(control.size())),
                        .hosts = hosts};
  PartTimes mine = times.mean_ms();
  const std::span<double> all(report.ms.front().data(), report.ms.size() * kNumStepParts);
  control.all_gather(buffer_of(std::span<double>(mine)), buffer_of(all));
  for (auto [mine_bytes, of_all] :
       {std::pair(peak_resident_bytes(), &report.peak_memory_bytes),
        std::pair(peak_device_bytes(), &report.peak_device_memory_bytes)}) {
    of_all->resize(report.ms.size());
    control.all_gather(buffer_of(mine_bytes), buffer_of(std::span(*of_all)));
  }
  return report;
}

std::string step_time_table(const StepTimeReport& report) {
  const bool alone = report.ms.size() == 1;
  std::vector<std::vector<std::string>> rows;
  rows.push_back(alone ? std::vector<std::string>{"part", "ms", "% of step"}
                       : std::vector<std::string>{"part", "min ms", "mean ms", "max ms",
                                                  "% of step", "longest on"});
  for (std::size_t part = 0; part < kNumStepParts; ++part) {
    if (!is_shown(report, static_cast<StepPart>(part))) continue;
    rows.push_back(
        table_row(report, title_of(static_cast<StepPart>(part)), spread_of(report, part)));
  }
  rows.push_back(table_row(report, "step", spread_of(report, sum)));
  std::string text = format("Time of a step, mean of %ld step%s from step %ld on\n",
                            static_cast<long>(report.num_steps), report.num_steps == 1 ? "" : "s",
                            static_cast<long>(report.first_step)) +
                     table(rows, "  ");
  if (!alone) {
    const int rank = report.slowest_rank();
    text += format("  Slowest: %s (%s) computes %.1f %% longer than the mean\n",
                   rank_text(report, rank).c_str(),
                   to_string(coordinate_of(report.shape, rank)).c_str(),
                   100.0 * report.slowest_over_mean());
  }
  if (report.shape.pp > 1) {
    const auto m = static_cast<int>(report.num_microbatches);
    text += format(
        "  Pipeline bubble: %.1f %% measured, %.1f %% in theory ((p-1)/(m+p-1), p %d, m %d)\n",
        100.0 * report.bubble(), 100.0 * bubble_fraction(report.shape.pp, m), report.shape.pp, m);
  }
  if (report.hosts.share_cores) {
    text += "  Ranks share cores: times include waiting for a core\n";
  }
  return text;
}

std::string step_time_json(const StepTimeReport& report, const StepSpeed& speed) {
  nlohmann::ordered_json parts;
  for (std::size_t part = 0; part < kNumStepParts; ++part) {
    if (!is_shown(report, static_cast<StepPart>(part))) continue;
    const Spread spread = spread_of(report, part);
    parts[std::string(name_of(static_cast<StepPart>(part)))] = {
        {"min", spread.min},
        {"mean", spread.mean},
        {"max", spread.max},
        {"slowest_rank", spread.longest_on},
        {"slowest_host", report.hosts.of(spread.longest_on)}};
  }
  nlohmann::ordered_json ranks = nlohmann::ordered_json::array();
  for (std::size_t rank = 0; rank < report.ms.size(); ++rank) {
    const GridCoordinate at = coordinate_of(report.shape, static_cast<int>(rank));
    ranks.push_back({{"rank", rank},
                     {"host", report.hosts.of(static_cast<int>(rank))},
                     {"dp", at.dp},
                     {"tp", at.tp},
                     {"pp", at.pp},
                     {"peak_memory_bytes", report.peak_memory_bytes[rank]}});
    if (const double bytes = report.peak_device_memory_bytes[rank]; bytes > 0.0)
      ranks.back()["peak_device_memory_bytes"] = bytes;
    ranks.back()["ms"] = json_of(report, report.ms[rank]);
  }
  nlohmann::ordered_json object = {{"steps", report.num_steps},
                                   {"first_step", report.first_step},
                                   {"step_ms", report.step_ms()},
                                   {"tokens_per_second", speed.tokens_per_second}};
  if (speed.mfu > 0.0) {
    object["mfu"] = speed.mfu;
    object["mfu_convention"] = speed.mfu_convention;
  }
  object["parts"] = parts;
  const auto m = static_cast<int>(report.num_microbatches);
  object["bubble"] = {{"measured", report.bubble()},
                      {"theory", bubble_fraction(report.shape.pp, m)}};
  object["ranks_share_cores"] = report.hosts.share_cores;
  object["ranks"] = ranks;
  return object.dump(1);
}

}  // namespace cuboid
