// cuboid checkpoint: looks after checkpoints in a single process, without MPI or a GPU.
#include "cuboid/app/checkpoint_command.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <thread>

#include "cuboid/app/command.hpp"
#include "cuboid/app/speaker.hpp"
#include "cuboid/app/terminal.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/folder.hpp"
#include "cuboid/data/progress_bar.hpp"

namespace cuboid {
namespace {

std::string command_help(const CheckpointCommand& command) {
  std::vector<std::vector<std::string>> rows;
  for (const CheckpointOption& option : command.options) {
    rows.push_back({"--" + option.name + (option.value_name.empty() ? "" : " " + option.value_name),
                    option.help});
  }
  rows.push_back({"--help", "this text"});
  return "cuboid checkpoint " + command.name + " [options] " + command.paths + "\n\n" +
         command.text + "\n" + table(rows, "  ");
}

std::string overview() {
  std::vector<std::vector<std::string>> rows;
  for (const CheckpointCommand& command : checkpoint_commands())
    rows.push_back({"cuboid checkpoint " + command.name + " " + command.paths, command.summary});
  return "Looks after checkpoints; needs neither mpirun nor a GPU.\n\n" + table(rows, "  ") +
         "\nEach has options: `cuboid checkpoint verify --help`.\n";
}

std::string unknown_command(const std::string& name) {
  std::vector<std::string> names;
  for (const CheckpointCommand& command : checkpoint_commands()) names.push_back(command.name);
  const std::string near = nearest_name(name, names);
  return (name.empty() ? "cuboid checkpoint: which command?"
                       : "unknown command 'checkpoint " + name + "'") +
         (near.empty() ? "" : ": did you mean '" + near + "'?") + "; legal are " +
         join(names, ", ") + " and --help";
}

int run_command(const CheckpointCommand& command, std::span<const std::string> words) {
  const CheckpointArguments arguments = read_checkpoint_arguments(words, command.options);
  if (arguments.help) return say_before_mpi(command_help(command)), kDone;
  const std::size_t count = arguments.paths.size();
  if (count < command.least_paths || count > command.most_paths)
    throw UsageError(format("cuboid checkpoint %s wants %s; it was given %zu", command.name.c_str(),
                            command.paths.c_str(), count));
  return command.run(arguments);
}

int dispatch(std::span<const std::string> words) {
  const std::string name = words.empty() ? "" : words.front();
  if (name == "--help" || name == "-h" || name == "help") return say_before_mpi(overview()), kDone;
  for (const CheckpointCommand& command : checkpoint_commands())
    if (command.name == name) return run_command(command, words.subspan(1));
  throw UsageError(unknown_command(name));
}

}  // namespace

std::vector<CheckpointCommand> checkpoint_commands() {
  return {info_command(), verify_command(), diff_command(), prune_command()};
}

int checkpoint(int argc, char** argv) {
  // Under mpirun, one rank does the work.
  if (!speaks_before_mpi()) return kDone;
  const std::vector<std::string> words(argv + 2, argv + argc);
  return report_problems([&] { return dispatch(words); });
}

int report_problems(const std::function<int()>& work) {
  const auto print = [](const std::string& problem) {
    std::fflush(stdout);
    std::fprintf(stderr, "%s%s\n", error_prefix().c_str(), problem.c_str());
  };
  try {
    return work();
  } catch (const UsageError& error) {
    for (const auto& problem : error.problems()) print(problem);
    return kUsage;
  } catch (const std::exception& error) {
    print(error.what());
    return kFailed;
  }
}

bool is_folder(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

std::vector<std::string> checkpoints_in(const std::string& folder) {
  std::vector<std::int64_t> steps = steps_in(folder);
  if (steps.empty())
    throw UsageError("folder '" + folder + "' holds no checkpoints (files checkpoint-STEP.h5)");
  std::ranges::reverse(steps);
  std::vector<std::string> files;
  for (const std::int64_t step : steps) files.push_back(checkpoint_path(folder, step));
  return files;
}

CheckpointOption threads_option() {
  return {.name = "threads",
          .value_name = "N",
          .help = "threads that read, 1 to 1024 (default: one for each core)",
          .least = 1,
          .most = 1024};
}

int num_threads(const CheckpointArguments& arguments) {
  const auto cores = static_cast<std::int64_t>(std::thread::hardware_concurrency());
  return static_cast<int>(arguments.number("threads", std::max<std::int64_t>(cores, 1)));
}

std::function<void(std::int64_t, std::int64_t)> progress_bar(const std::string& label) {
  struct State {
    std::unique_ptr<ProgressBar> bar;
    std::int64_t done = 0;
  };
  return [label, state = std::make_shared<State>()](std::int64_t done, std::int64_t total) {
    if (!state->bar) state->bar = std::make_unique<ProgressBar>(label, total);
    state->bar->add(done - state->done);
    state->done = done;
  };
}

Verified verify_with_bar(const std::string& path, int num_threads, bool from_cache) {
  return verify_checkpoint(path, {.num_threads = num_threads,
                                  .bypass_cache = !from_cache,
                                  .progress = progress_bar("Verifying " + path)});
}

namespace {

// "3 hosts", or the name of the only one. A rank's line is "dp 0, tp 1, pp 0 on HOST".
std::string hosts_text(const Metadata& metadata) {
  std::set<std::string> hosts;
  for (const auto& line : metadata.ranks) {
    const std::size_t on = line.find(" on ");
    if (on != std::string::npos) hosts.insert(line.substr(on + 4));
  }
  return hosts.size() == 1 ? *hosts.begin() : std::to_string(hosts.size()) + " hosts";
}

}  // namespace

TextPairs facts_of(const Metadata& metadata) {
  const History& history = metadata.history;
  return {{"step", grouped(metadata.step)},
          {"tokens", grouped(metadata.tokens)},
          {"samples", grouped(metadata.consumed_samples)},
          {"last loss", history.loss.empty() ? "none" : format("%.4f", history.loss.back())},
          {"saved", metadata.time + " on " + metadata.hostname},
          {"grid", to_string(metadata.grid) + " (DP x TP x PP) on " + hosts_text(metadata)},
          {"seed", std::to_string(metadata.seed)},
          {"last samples", "digest " + metadata.sample_digest}};
}

}  // namespace cuboid
