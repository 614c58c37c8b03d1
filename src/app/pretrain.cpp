// cuboid pretrain: each step builds one object from earlier ones.
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <utility>

#include "cuboid/app/checkpoint_command.hpp"
#include "cuboid/app/command.hpp"
#include "cuboid/app/ending.hpp"
#include "cuboid/app/preflight.hpp"
#include "cuboid/app/report.hpp"
#include "cuboid/app/setup.hpp"
#include "cuboid/app/speaker.hpp"
#include "cuboid/app/terminal.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/base/timer.hpp"
#include "cuboid/collective/device_clock.hpp"
#include "cuboid/config/model_size.hpp"
#include "cuboid/config/print.hpp"
#include "cuboid/launch/device.hpp"
#include "cuboid/launch/stop_signal.hpp"
#include "cuboid/trainer/attention_choice.hpp"
#include "cuboid/trainer/compute_stream.hpp"
#include "cuboid/trainer/peak.hpp"
#include "cuboid/trainer/trainer.hpp"

namespace cuboid {
namespace {

// Parameters of every stage, from what its ranks really hold. Collective over the grid.
std::vector<StageSize> measure_stages(const Grid& grid, const GridCommunicators& communicators,
                                      Stage& stage) {
  std::int64_t whole = 0;
  std::int64_t mine = 0;
  for (const auto& weight : stage.store().weights()) {
    for (const LogicalParameter& part : weight->parts) {
      std::int64_t local = 1;
      for (const std::int64_t size : part.local_shape()) local *= size;
      mine += local;
      // A stage's parameters count each logical element once, a tied copy never.
      if (!part.is_copy && (part.shard_dim >= 0 || grid.at().tp == 0)) whole += local;
    }
  }
  const auto stages = static_cast<std::size_t>(grid.shape().pp);
  std::vector<std::int64_t> totals(stages, 0);
  std::vector<std::int64_t> largest(stages, 0);
  const auto at = static_cast<std::size_t>(grid.at().pp);
  if (grid.at().dp == 0) totals[at] = whole;
  largest[at] = mine;
  communicators.control->all_reduce(buffer_of(std::span(totals)));
  communicators.control->all_reduce(buffer_of(std::span(largest)), ReduceOp::kMax);
  std::vector<StageSize> sizes;
  for (std::size_t i = 0; i < stages; ++i) {
    const Range layers =
        even_part(stage.num_layers(), grid.shape().pp, static_cast<std::int64_t>(i));
    sizes.push_back({layers.begin, layers.end, totals[i], largest[i]});
  }
  return sizes;
}

// FLOP/s of all ranks together that MFU is measured against, and a sentence on where it comes from.
std::pair<double, std::string> find_peak(const Config& config, Communicator& control,
                                         const Processor& processor) {
  const int ranks = control.size();
  const bool fp32 = config.runtime.dtype == Precision::kFloat32;
  double peak = config.runtime.peak_tflops * 1e12 * ranks;
  std::string source = "--peak-tflops for each of";
  if (peak == 0.0 && processor.device.is_cuda()) {
    peak = known_peak_flops(processor.name, fp32) * processor.num_devices;
    source = format("the data sheet's dense peak of %d GPU%s for", processor.num_devices,
                    processor.num_devices == 1 ? "" : "s");
  }
  if (peak == 0.0) {
    peak = measure_product_rate(control, compute_type(config), processor.device);
    source = "the matrix-product rate measured just now on";
  }
  const MfuConvention convention = config.runtime.mfu_convention;
  const double flops =
      flops_per_token(config.model, convention, config.parallel.tensor_parallel_size);
  return {peak, format("MFU: %s = %s FLOPs a token, over %.3g TFLOP/s, %s %d rank%s in %s\n",
                       std::string(formula_of(convention)).c_str(),
                       grouped(std::llround(flops)).c_str(), peak * 1e-12, source.c_str(), ranks,
                       ranks == 1 ? "" : "s", fp32 ? "fp32" : "bf16")};
}

RankHosts hosts_of(const NodeMap& nodes) {
  RankHosts hosts{.names = {}, .share_cores = nodes.oversubscribed()};
  for (const int node : nodes.node_of)
    hosts.names.push_back(nodes.hosts[static_cast<std::size_t>(node)]);
  return hosts;
}

// --attention-kernel of the checkpoint to go on from, or ""; on rank 0.
std::string recorded_kernel(const ResumeChoice& resume) {
  if (!resume.metadata) return {};
  for (const auto& [name, value] : resume.metadata->options)
    if (name == "attention-kernel") return value;
  return {};
}

TextPairs option_pairs(const Config& config) {
  TextPairs pairs;
  const std::string text = config_text(config);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    const std::size_t equals = line.find(" = ");
    if (equals != std::string::npos)
      pairs.emplace_back(line.substr(0, equals), line.substr(equals + 3));
    at = end == std::string::npos ? text.size() : end + 1;
  }
  return pairs;
}

// save_checkpoint writes down the versions of MPI and HDF5 by itself.
TextPairs versions_for_checkpoint() {
  TextPairs pairs = versions();
  std::erase_if(pairs,
                [](const auto& pair) { return pair.first == "mpi" || pair.first == "hdf5"; });
  return pairs;
}

int train(const MpiSession& session, const ParseResult& parsed, const Timer& since_start,
          Ending& ending) {
  const Announcer out(session.rank() == 0);
  // 1. Where are the ranks, and can they do what was asked?
  const NodeMap nodes = map_nodes(session.world());
  Preflight preflight = check_before_start(parsed, session, nodes, since_start);
  const Timer since_preflight;
  const Config& config = preflight.config;
  const GridShape shape = shape_of(config.parallel);
  ending.set_coordinate(to_string(coordinate_of(shape, session.rank())));
  out.say(config_table(config, parsed.provenance) + "\n" + grid_report(shape, nodes));
  for (const auto& warning : preflight.warnings) out.warn(warning);
  out.warn(placement_warning(shape, nodes));
  if (preflight.uses_default_text) {
    out.say("No --data-dir: training on C++ headers, " + config.data.data_dir);
  }
  // 2. Device, grid, communicators.
  set_threads(config.runtime.num_threads);
  const c10::InferenceMode no_autograd;
  Processor processor = choose_processor(config.runtime, session.world(), nodes);
  processor.stream = use_own_stream(processor.device);
  const auto watchdog = make_watchdog(config, session, nodes);
  const Grid grid = make_grid(session, shape, watchdog.get());
  GridCommunicators communicators = connect(grid, processor, watchdog.get());
  if (processor.device.is_cuda()) {
    communicators.recorder->use_clock(make_device_clock(processor.stream));
  }
  out.say(device_report(processor, config.runtime, nodes));
  // 3. This rank's stage of the model.
  const AttentionChoice attention = choose_attention_kernel(
      config, processor.device, recorded_kernel(preflight.resume), *communicators.control);
  // Written down with the checkpoints: who resumes goes on with the same kernel.
  preflight.config.runtime.attention_kernel = attention.kernel;
  out.say(attention.report);
  Stage::Options options = stage_options(config, processor);
  options.dp = communicators.dp.get();
  Stage stage(config.model, stage_place(config.model, shape.pp, grid.at().pp), *communicators.tp,
              options);
  out.say(stage_report(measure_stages(grid, communicators, stage), config.runtime.dtype));
  out.warn(shared_memory_warning(session.world(), communicators));
  if (parsed.dry_run) {
    if (!preflight.resume.path.empty()) out.say("It would go on from " + preflight.resume.path);
    out.say("Dry run: everything is in order; nothing was trained or written");
    return kDone;
  }
  // 4. Data.
  const Dataset dataset = open_dataset(*communicators.control, data_request(config));
  out.say("Data: " + describe(dataset.info));
  const auto [peak, peak_source] = find_peak(config, *communicators.control, processor);
  out.say(peak_source);
  // 5. Train.
  if (preflight.seconds_left != TimeLimit::kNone) {
    out.say(format("Time left: %s; saves in time and ends with exit code %d",
                   short_duration(std::max(0.0, preflight.seconds_left)).c_str(), kStoppedExit));
  }
  // The data may have taken a while since the limit was looked up.
  const double seconds_left = preflight.seconds_left - since_preflight.seconds();
  Trainer trainer(config, grid, communicators, dataset, stage,
                  {.peak_flops = peak,
                   .progress_line = wants_progress(),
                   .options = option_pairs(config),
                   .versions = versions_for_checkpoint(),
                   .seconds_left = seconds_left,
                   .hosts = hosts_of(nodes),
                   .took = [&](double seconds) {
                     if (watchdog) watchdog->took(seconds);
                   }});
  trainer.begin(std::move(preflight.resume));
  return trainer.run() == RunEnd::kDone ? kDone : kStoppedExit;
}

// What stands against the options on any number of ranks is said; the rest of --dry-run's checks
// wants ranks and data.
int print_config(const ParseResult& parsed) {
  if (!speaks_before_mpi()) return parsed.problems.empty() ? kDone : kUsage;
  return report_problems([&] {
    if (!parsed.problems.empty()) throw UsageError(parsed.problems);
    say_before_mpi(config_text(parsed.config));
    return kDone;
  });
}

}  // namespace

int pretrain(int argc, char** argv) {
  const Timer since_start;
  const std::vector<std::string> arguments(argv + 2, argv + argc);
  const ParseResult parsed = parse_options(arguments);
  if (parsed.help) return show_in_pages(help_text()), kDone;
  if (parsed.version) return say_before_mpi(version_text()), kDone;
  if (parsed.print_config) return print_config(parsed);
  catch_stop_signals();
  keep_freed_memory();
  // A file-size limit is then an error of the write that met it, not the end of the process.
  std::signal(SIGXFSZ, SIG_IGN);
  const MpiSession session(&argc, &argv);
  Ending ending(session, "pretrain");
  return ending.guard([&] { return train(session, parsed, since_start, ending); });
}

}  // namespace cuboid
