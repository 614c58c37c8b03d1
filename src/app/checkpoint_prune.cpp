#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <map>

#include "cuboid/app/checkpoint_command.hpp"
#include "cuboid/app/command.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/folder.hpp"
#include "cuboid/trainer/output_lock.hpp"

namespace cuboid {
namespace {

// What becomes of a folder's checkpoints. Nothing goes that a file which cannot be read is meant to
// replace: damaged ones do not count, so an older one stays for each.
struct Plan {
  std::vector<std::int64_t> steps;            // all, newest first
  std::map<std::int64_t, std::string> notes;  // of those that stay: why
  std::vector<std::int64_t> removed;          // ascending
  std::int64_t num_proven = 0;
  std::int64_t num_damaged = 0;
};

void prove(const std::string& path, int num_threads) {
  // What it leads to may be one of those that go.
  if (std::filesystem::is_symlink(path))
    throw UsageError("checkpoint '" + path + "' is a symbolic link, which proves nothing");
  verify_with_bar(path, num_threads);
}

Plan make_plan(const std::string& folder, const Retention& retention, int num_threads) {
  Plan plan{.steps = steps_in(folder), .notes = {}, .removed = {}};
  std::vector<std::int64_t> candidates = plan.steps;
  for (const std::int64_t step : plan.steps) {
    if (plan.num_proven == retention.keep_last) break;
    const int result = report_problems([&] {
      prove(checkpoint_path(folder, step), num_threads);
      return kDone;
    });
    if (result == kDone) {
      ++plan.num_proven;
      plan.notes[step] = "verified";
      continue;
    }
    ++plan.num_damaged;
    plan.notes[step] = "NOT OK: left alone, does not count";
    std::erase(candidates, step);
  }
  plan.removed = steps_to_remove(candidates, retention);
  return plan;
}

std::int64_t bytes_of(const std::string& path) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  return error ? 0 : static_cast<std::int64_t>(bytes);
}

// Prints a row for each checkpoint; returns the bytes of those that go.
std::int64_t print_plan(const std::string& folder, const Plan& plan, const Retention& retention) {
  std::vector<std::vector<std::string>> rows;
  std::int64_t bytes_removed = 0;
  for (const std::int64_t step : plan.steps) {
    const std::string path = checkpoint_path(folder, step);
    const std::int64_t bytes = bytes_of(path);
    const bool goes = std::ranges::binary_search(plan.removed, step);
    const auto note = plan.notes.find(step);
    std::string why = note != plan.notes.end() ? note->second : "";
    if (!goes && why.empty()) why = "a multiple of " + grouped(retention.keep_every);
    bytes_removed += goes ? bytes : 0;
    rows.push_back({path, short_bytes(static_cast<double>(bytes)), goes ? "goes" : "stays", why});
  }
  std::fputs(table(rows).c_str(), stdout);
  std::fflush(stdout);
  return bytes_removed;
}

int prune_folder(const std::string& folder, const CheckpointArguments& arguments) {
  if (!is_folder(folder)) throw UsageError("'" + folder + "' is not a folder");
  checkpoints_in(folder);
  const Retention retention{.keep_last = arguments.number("keep-last", 0),
                            .keep_every = arguments.number("keep-every", 0)};
  const bool dry_run = arguments.has("dry-run");
  // No job writes or removes checkpoints here meanwhile, and none starts.
  OutputLock lock;
  if (!dry_run) lock = OutputLock(folder, "cuboid checkpoint prune");
  const Plan plan = make_plan(folder, retention, num_threads(arguments));
  const std::int64_t bytes = print_plan(folder, plan, retention);
  if (!dry_run) remove_checkpoints(folder, plan.removed);
  std::printf("%s: %zu of %zu checkpoints %s, %s\n", folder.c_str(), plan.removed.size(),
              plan.steps.size(), dry_run ? "would be removed" : "removed",
              short_bytes(static_cast<double>(bytes)).c_str());
  if (plan.num_damaged == 0 || plan.num_proven == retention.keep_last) return kDone;
  throw UsageError(format(
      "folder '%s': only %s of its checkpoints are OK, and --keep-last is %s: "
      "nothing was removed",
      folder.c_str(), grouped(plan.num_proven).c_str(), grouped(retention.keep_last).c_str()));
}

int prune(const CheckpointArguments& arguments) {
  if (!arguments.has("keep-last"))
    throw UsageError("--keep-last is missing: it says how many checkpoints stay, 1 or more");
  int worst = kDone;
  for (const auto& folder : arguments.paths)
    worst = std::max(worst, report_problems([&] { return prune_folder(folder, arguments); }));
  return worst;
}

}  // namespace

CheckpointCommand prune_command() {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  return {
      .name = "prune",
      .paths = "FOLDER...",
      .summary = "remove old checkpoints, once newer ones are proven",
      .text =
          "Keeps the newest checkpoints of each folder, and with --keep-every those of every Nth\n"
          "step; removes the others. Before anything is removed, the newest are read from the "
          "disk\n"
          "and verified: one that is damaged is named, left alone and not counted, so that an "
          "older\n"
          "one stays instead. A folder in which a job is running is refused.\n"
          "Exit code: 0, or 2 where a folder holds fewer undamaged checkpoints than it should "
          "keep\n"
          "(then nothing was removed from it) or cannot be pruned.\n",
      .options = {{.name = "keep-last",
                   .value_name = "K",
                   .help = "newest checkpoints that stay, 1 or more; must be given",
                   .least = 1,
                   .most = kMost},
                  {.name = "keep-every",
                   .value_name = "N",
                   .help = "steps that are multiples of N stay as well",
                   .least = 1,
                   .most = kMost},
                  {.name = "dry-run", .value_name = "", .help = "verify and list, remove nothing"},
                  threads_option()},
      .most_paths = 100000,
      .run = prune};
}

}  // namespace cuboid
