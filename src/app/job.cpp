#include "cuboid/app/job.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cuboid/trainer/time_limit.hpp"

namespace cuboid {
namespace {

constexpr const char* kEndTime = "SLURM_JOB_END_TIME";

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

std::string job_name() {
  const char* id = std::getenv("SLURM_JOB_ID");
  return id != nullptr ? std::string("SLURM job ") + id : "";
}

double seconds_left(const TrainConfig& config, double elapsed, std::vector<std::string>& problems) {
  double left = TimeLimit::kNone;
  if (config.time_limit > 0) left = static_cast<double>(config.time_limit) - elapsed;
  const char* text = std::getenv(kEndTime);
  if (text == nullptr) return left;
  const std::string_view end_time = text;
  std::int64_t end = 0;
  const auto [at, error] = std::from_chars(end_time.begin(), end_time.end(), end);
  if (error != std::errc() || at != end_time.end() || end <= 0) {
    problems.push_back(
        std::string("environment variable ") + kEndTime + "='" + text +
        "' is not a time; legal: whole seconds since 1970 as SLURM sets it, or unset");
    return left;
  }
  return std::min(left, static_cast<double>(end) - now());
}

}  // namespace cuboid
