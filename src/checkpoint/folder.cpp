#include "cuboid/checkpoint/folder.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>

#include "cuboid/base/error.hpp"
#include "cuboid/checkpoint/file.hpp"

namespace cuboid {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "checkpoint-";
constexpr std::string_view kSuffix = ".h5";
constexpr std::string_view kPartial = ".partial";

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    names.push_back(at->path().filename());
  if (error && error != std::errc::no_such_file_or_directory)
    throw SystemError("cannot read folder '" + folder + "': " + error.message());
  return names;
}

}  // namespace

std::string checkpoint_path(const std::string& folder, std::int64_t step) {
  return folder + "/" + std::string(kPrefix) + std::to_string(step) + std::string(kSuffix);
}

std::optional<std::int64_t> step_of_checkpoint(std::string_view file_name) {
  if (!file_name.starts_with(kPrefix) || !file_name.ends_with(kSuffix)) return std::nullopt;
  if (file_name.size() <= kPrefix.size() + kSuffix.size()) return std::nullopt;
  const std::string_view digits =
      file_name.substr(kPrefix.size(), file_name.size() - kPrefix.size() - kSuffix.size());
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  if (digits != std::to_string(step) || step < 0) return std::nullopt;
  return step;
}

std::string partial_path(const std::string& path) {
  return path + std::string(kPartial);
}

std::vector<std::int64_t> steps_in(const std::string& folder) {
  std::vector<std::int64_t> steps;
  for (const auto& name : names_in(folder))
    if (const auto step = step_of_checkpoint(name)) steps.push_back(*step);
  std::ranges::sort(steps, std::greater<>());
  return steps;
}

std::vector<std::string> remove_partial_files(const std::string& folder) {
  std::vector<std::string> removed;
  for (std::string_view name : names_in(folder)) {
    // MPI-IO makes files of its own beside it: "checkpoint-5.h5.partial.locktest.0".
    const std::size_t end = name.find(kPartial);
    if (end == std::string_view::npos || !step_of_checkpoint(name.substr(0, end))) continue;
    removed.push_back(folder + "/" + std::string(name));
    check_errno(::unlink(removed.back().c_str()) == 0, "cannot remove '" + removed.back() + "'");
  }
  std::ranges::sort(removed);
  return removed;
}

std::vector<std::int64_t> steps_to_remove(std::vector<std::int64_t> steps,
                                          const Retention& retention) {
  if (retention.keep_last <= 0) return {};
  std::ranges::sort(steps, std::greater<>());
  const auto kept = std::min(steps.size(), static_cast<std::size_t>(retention.keep_last));
  steps.erase(steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(kept));
  std::erase_if(steps, [&](std::int64_t step) {
    return retention.keep_every > 0 && step % retention.keep_every == 0;
  });
  std::ranges::reverse(steps);
  return steps;
}

void remove_checkpoints(const std::string& folder, const std::vector<std::int64_t>& steps) {
  if (steps.empty()) return;
  for (const std::int64_t step : steps) {
    const std::string path = checkpoint_path(folder, step);
    check_errno(::unlink(path.c_str()) == 0 || errno == ENOENT, "cannot remove '" + path + "'");
  }
  sync_to_disk(folder, "cannot sync folder '" + folder + "'");
}

}  // namespace cuboid
