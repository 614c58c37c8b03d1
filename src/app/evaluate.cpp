// cuboid evaluate: the validation loss of a checkpoint, on any grid and any data.
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <utility>

#include "cuboid/app/command.hpp"
#include "cuboid/app/ending.hpp"
#include "cuboid/app/preflight.hpp"
#include "cuboid/app/report.hpp"
#include "cuboid/app/run_options.hpp"
#include "cuboid/app/setup.hpp"
#include "cuboid/app/terminal.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/checkpoint/folder.hpp"
#include "cuboid/checkpoint/reader.hpp"
#include "cuboid/checkpoint/wire.hpp"
#include "cuboid/config/attention_kernel.hpp"
#include "cuboid/config/config_file.hpp"
#include "cuboid/trainer/evaluate_checkpoint.hpp"

namespace cuboid {
namespace {

std::string evaluate_help() {
  return "cuboid evaluate [options] FILE|FOLDER\n"
         "\n"
         "Prints the mean loss of a checkpoint, or of a folder's newest one, over validation data, "
         "as its\n"
         "run would have: the model, the data, the sequences of a batch and --eval-steps are the "
         "run's\n"
         "unless given here (what --help calls their default is for new runs). Any grid reads any "
         "checkpoint:\n"
         "under mpirun or srun, the grid's options are those of cuboid pretrain.\n"
         "\n" +
         option_tables(evaluation_options());
}

// What is wrong with the command line by itself, whatever the checkpoint says.
void check_words(const EvaluationArguments& arguments) {
  const ParseResult parsed = parse_options(arguments.options);
  std::vector<std::string> problems = parsed.problems;
  for (auto& problem : find_useless_options(parsed)) problems.push_back(std::move(problem));
  if (arguments.paths.size() != 1) {
    problems.push_back(format("cuboid evaluate wants one FILE or FOLDER; it was given %zu",
                              arguments.paths.size()));
  }
  if (!problems.empty()) throw UsageError(problems);
}

// The newest checkpoint of a folder, or the file itself.
std::string chosen_file(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return path;
  const auto steps = steps_in(path);
  if (steps.empty())
    throw UsageError("folder '" + path + "' holds no checkpoints (files checkpoint-STEP.h5)");
  return checkpoint_path(path, steps.front());
}

// What a run's options are to its evaluation: the model, and what the validation loss depends on.
BaseSettings base_of(const std::string& path, const std::string& options) {
  constexpr std::array<std::string_view, 5> kOthers = {"data-dir", "micro-batch-size",
                                                       "global-batch-size", "eval-steps", "dtype"};
  BaseSettings base{.source = path, .settings = {}};
  for (const ConfigLine& line : parse_config_text(options)) {
    const Option* option = find_option(line.key);
    if (option == nullptr) continue;
    const bool is_other = std::ranges::find(kOthers, line.key) != kOthers.end();
    if (is_other || option->group == OptionGroup::kModel)
      base.settings.emplace_back(line.key, line.value);
  }
  const std::string folder = path.substr(0, path.rfind('/') + 1);
  base.settings.emplace_back("output-dir", folder.empty() ? "." : folder);
  return base;
}

struct Subject {
  std::string path;
  std::string options;  // of the run, as lines of a configuration file
  std::string saved;    // "step 300, saved on grid 2x2x2"
};

// Collective: rank 0 looks at the checkpoint for all.
Subject find_subject(MPI_Comm world, bool looks, const std::string& path) {
  Subject subject;
  together(world, [&] {
    if (!looks) return;
    subject.path = chosen_file(path);
    const Metadata metadata = read_metadata(subject.path);
    for (const auto& [key, value] : metadata.options) subject.options += key + " = " + value + "\n";
    subject.saved =
        "step " + grouped(metadata.step) + ", saved on grid " + to_string(metadata.grid);
  });
  for (std::string* text : {&subject.path, &subject.options, &subject.saved})
    *text = broadcast_text(world, *text);
  return subject;
}

// The run's attention kernel, so that its loss comes out the same. On a CPU, and where it does not
// take this type, what AttentionCore takes by itself.
AttentionKernel kernel_of(const Subject& subject, const Config& config, at::Device device) {
  if (!device.is_cuda()) return AttentionKernel::kAuto;
  std::string value;
  for (const ConfigLine& line : parse_config_text(subject.options))
    if (line.key == "attention-kernel") value = line.value;
  return usable_kernel(value, config.runtime.dtype, config.model.head_dim());
}

std::string result_text(const Evaluation& result, const Subject& subject) {
  const auto tokens = static_cast<double>(result.tokens);
  return "\n" +
         table({{"Checkpoint", subject.path + " (" + subject.saved + ")"},
                {"Validation loss", format("%.4f nats a token", result.loss)},
                {"Perplexity", format("%.4f", std::exp(result.loss))},
                {"Tokens", grouped(result.tokens)},
                {"Time", short_duration(result.seconds) + " (loading " +
                             short_duration(result.load_seconds) + ")"},
                {"Throughput", grouped(std::llround(tokens / result.seconds)) + " tokens/s"}});
}

int run(const MpiSession& session, const EvaluationArguments& arguments, const Timer& since_start,
        Ending& ending) {
  const Announcer out(session.rank() == 0);
  const NodeMap nodes = map_nodes(session.world());
  check_words(arguments);
  const Subject subject =
      find_subject(session.world(), session.rank() == 0, arguments.paths.front());
  const BaseSettings base = base_of(subject.path, subject.options);
  ParseResult parsed = parse_options(arguments.options, base);
  if (parsed.config.train.eval_steps == 0)
    parsed.problems.emplace_back("--eval-steps 0: nothing to evaluate; legal: 1 or more");
  const Preflight preflight =
      check_before_start(parsed, session, nodes, since_start, Purpose::kEvaluate);
  const Config& config = preflight.config;
  const GridShape shape = shape_of(config.parallel);
  ending.set_coordinate(to_string(coordinate_of(shape, session.rank())));
  out.say(grid_report(shape, nodes));
  for (const auto& warning : preflight.warnings) out.warn(warning);
  set_threads(config.runtime.num_threads);
  const c10::InferenceMode no_autograd;
  const Processor processor = choose_processor(config.runtime, session.world(), nodes);
  const auto watchdog = make_watchdog(config, session, nodes);
  const Grid grid = make_grid(session, shape, watchdog.get());
  GridCommunicators communicators = connect(grid, processor, watchdog.get());
  out.say(device_report(processor, config.runtime, nodes));
  if (parsed.dry_run) {
    out.say("Dry run: " + subject.path + " can be evaluated so; nothing was computed");
    return kDone;
  }
  const Dataset dataset = open_dataset(*communicators.control, data_request(config));
  out.say("Data: " + describe(dataset.info));
  Stage::Options options = stage_options(config, processor);
  options.attention = kernel_of(subject, config, processor.device);
  Stage stage(config.model, stage_place(config.model, shape.pp, grid.at().pp), *communicators.tp,
              options);
  out.warn(shared_memory_warning(session.world(), communicators));
  out.say(result_text(
      evaluate_checkpoint(subject.path, config, grid, communicators, dataset, stage), subject));
  return kDone;
}

}  // namespace

int evaluate(int argc, char** argv) {
  const Timer since_start;
  const EvaluationArguments arguments =
      split_paths(std::vector<std::string>(argv + 2, argv + argc));
  if (parse_options(arguments.options).help) return show_in_pages(evaluate_help()), kDone;
  const MpiSession session(&argc, &argv);
  Ending ending(session, "evaluate");
  return ending.guard([&] { return run(session, arguments, since_start, ending); });
}

}  // namespace cuboid
