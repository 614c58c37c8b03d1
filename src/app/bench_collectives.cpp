// cuboid bench collectives: from options to the ranks and the memory, then the table.
#include <mpi.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <optional>

#include "cuboid/app/bench_memory.hpp"
#include "cuboid/app/bench_run.hpp"
#include "cuboid/app/bench_scene.hpp"
#include "cuboid/app/checkpoint_command.hpp"
#include "cuboid/app/command.hpp"
#include "cuboid/app/ending.hpp"
#include "cuboid/app/preflight.hpp"
#include "cuboid/app/setup.hpp"
#include "cuboid/app/speaker.hpp"
#include "cuboid/app/terminal.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/collective/backend.hpp"
#include "cuboid/config/resolve.hpp"

namespace cuboid {
namespace {

// Problems of the grid alone: those of a run whose model fits every grid of this many ranks.
Config config_for(const BenchArguments& arguments, DeviceChoice device, std::int64_t ranks,
                  std::vector<std::string>& problems) {
  Config config;
  config.parallel = arguments.parallel;
  config.runtime = arguments.runtime;
  config.runtime.device = device;
  const std::int64_t unit = ranks * config.parallel.tensor_parallel_size;
  config.model.hidden_size = config.model.ffn_hidden_size = unit;
  config.model.num_attention_heads = config.model.num_key_value_heads = unit;
  config.model.num_layers = std::max(ranks, config.parallel.pipeline_parallel_size);
  const Facts facts{.world_size = ranks, .data = {}};
  for (const std::string& problem : find_problems(config, facts)) problems.push_back(problem);
  resolve(config, facts);
  return config;
}

MPI_Comm axis_of(const Grid& grid, const std::string& axis) {
  if (axis == "dp") return grid.dp();
  if (axis == "tp") return grid.tp();
  if (axis == "pp") return grid.pp();
  if (axis == "mp") return grid.model_parallel();
  if (axis == "ends") return grid.ends();
  return grid.world();
}

BenchGroups groups_of(Communicator& group, Communicator& everyone) {
  std::int64_t largest = group.size();
  everyone.all_reduce(buffer_of(largest), ReduceOp::kMax);
  std::int64_t firsts = group.rank() == 0 && group.size() == largest ? 1 : 0;
  everyone.all_reduce(buffer_of(firsts));
  return {.ranks = static_cast<int>(largest), .count = static_cast<int>(firsts)};
}

// What the groups do not allow.
void check_groups(const BenchArguments& arguments, const BenchGroups& groups) {
  const std::string axis = "--axis " + arguments.axis;
  if (groups.ranks == 1) {
    const std::string what = arguments.axis == "world"
                                 ? "start two ranks or more, with mpirun or srun"
                                 : "an axis of two ranks or more (--tensor-parallel-size, "
                                   "--pipeline-parallel-size, more ranks)";
    throw UsageError(axis + " has groups of one rank, which have nothing to send; legal: " + what);
  }
  std::vector<std::string> problems;
  if (arguments.root >= groups.ranks)
    problems.push_back(format("--root %lld: %s has groups of %d ranks; legal: 0 to %d",
                              static_cast<long long>(arguments.root), axis.c_str(), groups.ranks,
                              groups.ranks - 1));
  if (arguments.cases(groups.ranks).empty())
    problems.push_back(
        format("no size up to %lld bytes has an element for each of %d ranks; "
               "legal: a larger --maxbytes",
               static_cast<long long>(arguments.sizes().back()), groups.ranks));
  if (!problems.empty()) throw UsageError(problems);
}

// Opened before anything is measured: a path that cannot be written should not cost the figures.
std::ofstream open_json(MPI_Comm world, bool writes, const std::string& path) {
  std::ofstream file;
  together(world, [&] {
    if (!writes || path.empty()) return;
    file.open(path, std::ios::trunc);
    if (!file) throw UsageError("--json '" + path + "' cannot be written: " + std::strerror(errno));
  });
  return file;
}

Buffer bytes_of(const BenchMemory& memory, std::int64_t bytes) {
  return {memory.get().data, bytes, DType::kUInt8, memory.get().place};
}

// Memory of the group's for what is reduced, where --memory asks for it: it lives as long as the
// group.
std::optional<Buffer> memory_of(Communicator& group, const BenchArguments& arguments,
                                std::int64_t bytes, Place place) {
  if (place != Place::kHost || !arguments.shared_memory) return std::nullopt;
  return Buffer{group.allocate(static_cast<std::size_t>(bytes)), bytes, DType::kUInt8, place};
}

int run(const MpiSession& session, const std::vector<std::string>& words,
        const BenchArguments& arguments, Ending& ending) {
  const MPI_Comm world = session.world();
  const Announcer out(session.rank() == 0);
  const NodeMap nodes = map_nodes(world);
  require_same_options(world, std::hash<std::string>()(join(words, "\n")));
  std::vector<std::string> problems = arguments.problems;
  std::vector<std::string> warnings;
  const DeviceChoice device = choose_device(world, arguments.runtime.device, problems, warnings);
  Config config = config_for(arguments, device, session.size(), problems);
  if (!problems.empty()) throw UsageError(problems);
  for (const auto& warning : warnings) out.warn(warning);
  const GridShape shape = shape_of(config.parallel);
  ending.set_coordinate(to_string(coordinate_of(shape, session.rank())));
  if (config.runtime.num_threads == 0) config.runtime.num_threads = nodes.threads_per_rank();
  set_threads(config.runtime.num_threads);

  const Processor processor = choose_processor(config.runtime, world, nodes);
  const Grid grid(world, shape);
  const MPI_Comm axis = axis_of(grid, arguments.axis);
  const auto everyone = make_communicator(Backend::kMpi, world, "everyone");
  const auto control = make_communicator(Backend::kMpi, axis, arguments.axis + " control");
  const BenchGroups groups = groups_of(*control, *everyone);
  check_groups(arguments, groups);
  const BenchmarkMemory memory = memory_for(arguments.cases(groups.ranks), groups.ranks);
  require_memory(world, nodes, processor, memory, arguments.sizes().back());
  std::ofstream json = open_json(world, session.rank() == 0, arguments.json);

  const auto group = make_communicator(processor.backend, axis, arguments.axis);
  const Place place = processor.device.is_cuda() ? Place::kDevice : Place::kHost;
  const std::optional<Buffer> shared = memory_of(*group, arguments, memory.first, place);
  const BenchMemory own = shared ? BenchMemory() : allocate(memory.first, place);
  const Buffer first = shared ? *shared : bytes_of(own, memory.first);
  const BenchMemory second = allocate(memory.second, place);
  const BenchScene scene = {arguments,           nodes, shape, processor, config.runtime, groups,
                            group->shares(first)};
  out.say(bench_introduction(scene));
  std::optional<Collective> before;
  const BenchResult result = run_benchmarks(
      arguments,
      {.group = *group, .control = *control, .everyone = *everyone, .ranks = groups.ranks}, first,
      bytes_of(second, memory.second), [&](const BenchRow& row) {
        if (before != row.one.collective) out.say("#\n" + bench_heading(row.one.collective));
        before = row.one.collective;
        out.say(bench_line(row));
      });
  out.say(bench_ending(result));
  if (json.is_open()) {
    json << bench_json(scene, result) << std::flush;
    check_errno(json.good(), "cannot write to '" + arguments.json + "'");
  }
  return result.wrong() == 0 ? kDone : kFailed;
}

int collectives(int argc, char** argv) {
  const std::vector<std::string> words(argv + 3, argv + argc);
  const BenchArguments arguments = read_bench_arguments(words);
  if (arguments.help) return show_in_pages(bench_help()), kDone;
  const MpiSession session(&argc, &argv);
  Ending ending(session, "bench collectives");
  return ending.guard([&] { return run(session, words, arguments, ending); });
}

}  // namespace

int bench(int argc, char** argv) {
  const std::string name = argc > 2 ? argv[2] : "";
  if (name == "collectives") return collectives(argc, argv);
  if (name == "--help" || name == "-h") return show_in_pages(bench_help()), kDone;
  if (!speaks_before_mpi()) return kUsage;
  return report_problems([&]() -> int {
    throw UsageError(
        (name.empty() ? "cuboid bench: of what?" : "unknown benchmark '" + name + "'") +
        std::string("; legal are collectives and --help"));
  });
}

}  // namespace cuboid
