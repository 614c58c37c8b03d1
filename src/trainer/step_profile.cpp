#include "cuboid/trainer/step_profile.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "cuboid/base/text.hpp"
#include "cuboid/collective/nvtx_ranges.hpp"

namespace cuboid {
namespace {

// Of a run that warms up first.
constexpr std::int64_t kWarmUps = 2;

// What went wrong, or "".
std::string write_text(const std::string& path, const std::string& text) {
  const std::string next = path + ".partial";
  std::ofstream file(next, std::ios::trunc);
  file << text << std::flush;
  if (file.good() && std::rename(next.c_str(), path.c_str()) == 0) return {};
  std::string problem = "cannot write '" + next + "': " + std::strerror(errno);
  std::remove(next.c_str());
  return problem;
}

}  // namespace

StepProfile::StepProfile(const Config& config, const GridShape& shape, const RankHosts& hosts,
                         GridCommunicators& communicators)
    : config_(config),
      shape_(shape),
      hosts_(hosts),
      communicators_(communicators),
      trace_(shape, hosts),
      observer_(make_nvtx_ranges()) {
  communicators_.recorder->observe_with(observer_.get());
}

std::string StepProfile::plan(std::int64_t completed) {
  const ProfileSteps& steps = config_.runtime.profile;
  if (steps.count == 0) return {};
  const std::int64_t max_steps = config_.train.max_steps;
  const std::int64_t next = completed + 1;
  first_traced_ = steps.first;
  if (steps.first == 0) {
    const std::int64_t latest = std::max(next, max_steps - steps.count + 1);
    first_traced_ = std::min(next + kWarmUps, latest);
  }
  last_traced_ = std::min(first_traced_ + steps.count - 1, max_steps);
  first_traced_ = std::max(first_traced_, next);
  if (first_traced_ <= last_traced_) return {};
  return format("warning: --profile: the run goes on from step %ld, after the steps to trace",
                static_cast<long>(completed));
}

void StepProfile::begin_step(std::int64_t step) {
  step_ = step;
  if (step == first_traced_ && is_traced(step)) trace_.begin(*communicators_.control);
  communicators_.recorder->begin_step(step, is_traced(step) ? Detail::kSpans : Detail::kSums);
}

void StepProfile::end_step() {
  communicators_.recorder->end_step();
  take(/*all=*/step_ == last_traced_);
}

void StepProfile::take(bool all) {
  for (StepRecord& record : communicators_.recorder->take(all)) {
    times_.add(record);
    if (record.is_detailed) trace_.add(std::move(record));
  }
}

std::string StepProfile::write_when_complete() {
  return step_ == last_traced_ ? write_trace() : std::string();
}

std::string StepProfile::write_trace() {
  if (trace_.num_steps() == 0) return {};
  const std::string path =
      config_.checkpoint.output_dir + format("/trace-steps-%ld-%ld.json",
                                             static_cast<long>(trace_.first_step()),
                                             static_cast<long>(trace_.last_step()));
  const std::string problem = trace_.write(path, *communicators_.control);
  if (!problem.empty()) return "warning: no trace: " + problem;
  return "Traced to " + path + "; open it in https://ui.perfetto.dev";
}

std::string StepProfile::finish(const std::function<StepSpeed(double)>& speed_of) {
  take(/*all=*/true);
  std::string text = write_trace();
  if (times_.num_steps() == 0) return text;
  const StepTimeReport report = gather_step_times(times_, shape_, config_.batch.num_microbatches,
                                                  hosts_, *communicators_.control);
  if (communicators_.control->rank() == 0) {
    const std::string path = config_.checkpoint.output_dir + "/step_times.json";
    const std::string problem =
        write_text(path, step_time_json(report, speed_of(report.step_ms() * 1e-3)) + "\n");
    if (!problem.empty()) text += (text.empty() ? "" : "\n") + ("warning: " + problem);
  }
  text += "\n" + step_time_table(report);
  text.pop_back();  // the line's end is the printer's
  return text;
}

}  // namespace cuboid
