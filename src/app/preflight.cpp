#include "cuboid/app/preflight.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "cuboid/app/command.hpp"
#include "cuboid/app/job.hpp"
#include "cuboid/app/setup.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/folder.hpp"
#include "cuboid/config/print.hpp"
#include "cuboid/config/resolve.hpp"
#include "cuboid/grid/grid.hpp"
#include "cuboid/launch/device.hpp"
#include "cuboid/trainer/output_folder.hpp"

namespace cuboid {
namespace {

// Lines from rank 0 on all ranks.
std::vector<std::string> broadcast_lines(MPI_Comm world, const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line + '\0';
  auto size = static_cast<long long>(text.size());
  check_mpi(MPI_Bcast(&size, 1, MPI_LONG_LONG, 0, world));
  text.resize(static_cast<std::size_t>(size));
  check_mpi(MPI_Bcast(text.data(), static_cast<int>(size), MPI_CHAR, 0, world));
  std::vector<std::string> result;
  for (std::size_t at = 0; at < text.size(); at = text.find('\0', at) + 1) {
    result.emplace_back(text.c_str() + at);
  }
  return result;
}

int agree_minimum(MPI_Comm world, int value) {
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT, MPI_MIN, world));
  return value;
}

// "rank 3: CUDA says ..." of the first rank that has a problem, or "". Collective.
std::string first_failure(MPI_Comm world, const std::string& problem) {
  int rank = 0;
  check_mpi(MPI_Comm_rank(world, &rank));
  constexpr int kNone = std::numeric_limits<int>::max();
  const int first = agree_minimum(world, problem.empty() ? kNone : rank);
  if (first == kNone) return {};
  std::array<char, 512> text{};
  problem.copy(text.data(), text.size() - 1);
  check_mpi(MPI_Bcast(text.data(), static_cast<int>(text.size()), MPI_CHAR, first, world));
  return format("CUDA fails on rank %d: %s", first, text.data());
}

// Looks at the data; its facts where it can be read at all.
std::optional<DataInfo> inspect(const Config& config, std::vector<std::string>& problems) {
  try {
    return inspect_data(config.data.data_dir, config.checkpoint.output_dir);
  } catch (const UsageError& error) {
    problems.insert(problems.end(), error.problems().begin(), error.problems().end());
    return std::nullopt;
  }
}

void append(std::vector<std::string>& problems, const std::vector<std::string>& more) {
  problems.insert(problems.end(), more.begin(), more.end());
}

// On rank 0: makes the output folder this job's own. Nothing is left to a dry run but to look.
// False where the folder cannot be used.
bool take_output_dir(const ParseResult& parsed, Preflight& result,
                     std::vector<std::string>& problems) {
  const std::string& folder = parsed.config.checkpoint.output_dir;
  append(problems, check_output_dir(folder));
  if (!problems.empty() || parsed.dry_run) return problems.empty();
  try {
    result.lock = OutputLock(folder, job_name());
    for (const auto& path : remove_partial_files(folder))
      result.warnings.push_back("removed '" + path + "': a job that died had not completed it");
  } catch (const UsageError& error) {
    append(problems, error.problems());
  } catch (const SystemError& error) {
    problems.push_back("--output-dir '" + folder + "': " + error.what());
  }
  return problems.empty();
}

// On rank 0: chooses the checkpoint to go on from, and compares the options with it once they are
// resolved.
void choose_resume(const Config& config, bool is_resolved, Preflight& result,
                   std::vector<std::string>& problems) {
  try {
    result.resume = choose_checkpoint(config.checkpoint);
  } catch (const UsageError& error) {
    return append(problems, error.problems());
  }
  const ResumeChoice& choice = result.resume;
  if (!choice.metadata || !is_resolved) return;
  append(problems, find_contradictions(config, *choice.metadata, choice.path));
  if (choice.metadata->step > config.train.max_steps) {
    problems.push_back(
        format("--max-steps %ld is below step %ld of checkpoint '%s'; legal: %ld or "
               "more, or --resume none",
               static_cast<long>(config.train.max_steps), static_cast<long>(choice.metadata->step),
               choice.path.c_str(), static_cast<long>(choice.metadata->step)));
  }
}

}  // namespace

// Ranks may be started differently by mistake (an MPMD launch, a response file that differs
// between nodes).
void require_same_options(MPI_Comm world, std::uint64_t my_hash) {
  auto hash = static_cast<unsigned long long>(my_hash);
  unsigned long long of_first = hash;
  check_mpi(MPI_Bcast(&of_first, 1, MPI_UNSIGNED_LONG_LONG, 0, world));
  int rank = 0;
  int size = 0;
  check_mpi(MPI_Comm_rank(world, &rank));
  check_mpi(MPI_Comm_size(world, &size));
  const int first_different = agree_minimum(world, hash == of_first ? size : rank);
  if (first_different == size) return;
  throw UsageError(
      format("the options of rank %d differ from those of rank 0: start all ranks "
             "with the same command line and the same --config file",
             first_different));
}

// A GPU counts only where every rank sees one.
DeviceChoice choose_device(MPI_Comm world, DeviceChoice wanted, std::vector<std::string>& problems,
                           std::vector<std::string>& warnings) {
  if (wanted == DeviceChoice::kCpu) return wanted;
  const CudaDevices devices = find_cuda_devices();
  if (agree_minimum(world, devices.count) > 0) return DeviceChoice::kCuda;
  const std::string failure = first_failure(world, devices.problem);
  if (wanted == DeviceChoice::kCuda) {
    problems.push_back("--device cuda: not every rank sees a CUDA device" +
                       (failure.empty() ? "" : " (" + failure + ")") +
                       "; legal here are cpu and auto");
  } else if (!failure.empty()) {
    warnings.push_back("computes on the CPU, since " + failure);
  }
  return DeviceChoice::kCpu;
}

Preflight check_before_start(const ParseResult& parsed, const MpiSession& session,
                             const NodeMap& nodes, const Timer& since_start, Purpose purpose) {
  const MPI_Comm world = session.world();
  require_same_options(world, config_hash(parsed.config));
  Preflight result{.config = parsed.config, .warnings = {}, .lock = {}, .resume = {}};
  Config& config = result.config;
  std::vector<std::string> problems = parsed.problems;
  result.uses_default_text = config.data.data_dir.empty();
  if (result.uses_default_text) config.data.data_dir = default_text_folder();
  config.runtime.device = choose_device(world, config.runtime.device, problems, result.warnings);

  const bool trains = purpose == Purpose::kTrain;
  Facts facts{.world_size = session.size(), .data = {}};
  std::vector<std::string> data_problems;
  std::optional<DataInfo> info;
  bool has_folder = false;
  if (session.rank() == 0) {
    if (trains) has_folder = take_output_dir(parsed, result, data_problems);
    info = inspect(config, data_problems);
    if (trains)
      result.seconds_left = seconds_left(config.train, since_start.seconds(), data_problems);
  }
  std::array<std::int64_t, 3> about_data{};
  if (info) about_data = {1, static_cast<std::int64_t>(info->kind), info->vocab_size};
  check_mpi(MPI_Bcast(about_data.data(), 3, MPI_INT64_T, 0, world));
  if (about_data[0] != 0) {
    facts.data =
        DataFacts{.kind = static_cast<DataKind>(about_data[1]), .vocab_size = about_data[2]};
  }
  const auto option_problems = find_problems(config, facts, parsed.doubtful);
  if (parsed.doubtful.empty()) resolve(config, facts);
  if (has_folder) {
    const bool is_resolved = parsed.doubtful.empty() && info && option_problems.empty();
    choose_resume(config, is_resolved, result, data_problems);
  }
  if (info && problems.empty() && option_problems.empty()) {
    append(data_problems, check_data(*info, data_request(config).needs));
  }
  append(problems, option_problems);
  append(problems, broadcast_lines(world, data_problems));
  if (!problems.empty()) throw UsageError(problems);
  if (config.runtime.num_threads == 0) config.runtime.num_threads = nodes.threads_per_rank();
  if (trains) append(result.warnings, find_warnings(config));
  return result;
}

}  // namespace cuboid
