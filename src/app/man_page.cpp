// The manual page, from the same tables as --help.
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "cuboid/app/bench_arguments.hpp"
#include "cuboid/app/checkpoint_command.hpp"
#include "cuboid/app/command.hpp"
#include "cuboid/app/guide.hpp"
#include "cuboid/app/overview.hpp"
#include "cuboid/config/general_option.hpp"
#include "cuboid/config/option.hpp"

namespace cuboid {
namespace {

using Entry = std::pair<std::string_view, std::string_view>;

constexpr std::array<Entry, 8> kExitCodes = {{
    {"0", "Done."},
    {"1",
     "A library or the machine failed: MPI, NCCL, CUDA, HDF5, the disk; or an invariant of the "
     "program is broken; cuboid bench collectives: a result is wrong."},
    {"2", "Usage: options, files, folders; damaged checkpoints."},
    {"3", "cuboid checkpoint diff: the checkpoints differ."},
    {"5", "The training diverged; the last checkpoint is from before."},
    {"6",
     "A rank waited for others longer than --comm-timeout; the report says who did not come. What "
     "was saved is whole: start it again with --resume auto."},
    {"75",
     "Stopped early, by a signal or the time limit, with everything saved: start it again "
     "with --resume auto."},
    {"137 and others", "The launcher's, where a rank was killed."},
}};

constexpr std::array<Entry, 6> kVariables = {{
    {"SLURM_JOB_ID", "Names the job that holds the lock of an output folder."},
    {"SLURM_JOB_END_TIME", "When the job ends, in seconds since 1970: the run saves before."},
    {"CUBOID_PROGRESS",
     "1 or 0 shows or hides the progress line; otherwise it shows where standard "
     "error is a terminal."},
    {"PAGER", "Shows long texts on a terminal; less where it is unset, none where it is empty."},
    {"NO_COLOR", "Any value but an empty one: no colours and no bold type."},
    {"CUDA_VISIBLE_DEVICES", "The GPUs that ranks of a node share, by local rank."},
}};

// Text for roff: its own characters escaped, no line that begins like a request.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const bool begins_line = result.empty() || result.back() == '\n';
    if (begins_line && (c == '.' || c == '\'')) result += "\\&";
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result += "\\-";
    } else {
      result += c;
    }
  }
  return result;
}

std::string item(const std::string& term, std::string_view text) {
  return ".TP\n" + term + "\n" + escaped(text) + "\n";
}

std::string bold_words(std::string_view text) {
  return "\\fB" + escaped(text) + "\\fR";
}

std::string option_term(const std::string& name, const std::string& value_name) {
  const std::string value = value_name.empty() ? "" : " \\fI" + escaped(value_name) + "\\fR";
  return bold_words("--" + name) + value;
}

std::string option_sections() {
  std::string text;
  std::string_view title;
  for (const Option& option : options()) {
    if (title_of(option.group) != title) {
      title = title_of(option.group);
      text += ".SS " + std::string(title) + "\n";
    }
    std::string help =
        option.help + " [" + option.legal + "; default " + option.get(Config{}) + "].";
    for (const OptionAlias& alias : option.aliases)
      help += (&alias == option.aliases.data() ? " Also: --" : ", --") + alias.name;
    text += item(option_term(option.name, option.value_name), help);
  }
  text += ".SS General\n";
  for (const GeneralOption& option : general_options())
    text += item(option_term(option.name, option.value_name), option.help + ".");
  return text;
}

std::string checkpoint_sections() {
  std::string text;
  for (const CheckpointCommand& command : checkpoint_commands()) {
    text += ".SS cuboid checkpoint " + command.name + " [options] " + escaped(command.paths) +
            "\n.nf\n" + escaped(command.text) + ".fi\n";
    for (const CheckpointOption& option : command.options)
      text += item(option_term(option.name, option.value_name), option.help + ".");
  }
  return text;
}

std::string bench_section() {
  std::string text = escaped(
      "Times collectives over message sizes and prints the table of nccl-tests, whose options it "
      "takes, beside those of cuboid pretrain that say which grid, device and backend. VERB: ");
  for (const Collective verb : all_collectives()) text += escaped(name_of(verb)) + " ";
  text += "(all).\n";
  for (const BenchOption& option : bench_options()) {
    const std::string letter =
        option.letter == '\0' ? "" : bold_words(std::string("-") + option.letter) + ", ";
    text += item(letter + option_term(option.name, option.value_name),
                 option.help + ". [" + option.legal + "]");
  }
  return text;
}

template <typename Entries>
std::string section(const std::string& title, const Entries& entries) {
  std::string text = ".SH " + title + "\n";
  for (const auto& [term, meaning] : entries) text += item(bold_words(term), meaning);
  return text;
}

std::string name_and_version() {
  const auto [name, version] = versions().front();
  return name + " " + version;
}

}  // namespace

std::string man_page() {
  std::string text = ".TH CUBOID 1 \"\" \"" + escaped(name_and_version()) +
                     "\" \"User Commands\"\n"
                     ".SH NAME\n"
                     "cuboid \\- pretrains transformers on a grid of MPI ranks\n"
                     ".SH SYNOPSIS\n";
  for (const Command& command : commands())
    text += bold_words("cuboid " + command.name) +
            (command.arguments.empty() ? "" : " " + escaped(command.arguments)) + "\n.br\n";
  text += ".SH DESCRIPTION\n" +
          escaped(
              "Cuboid pretrains GPT- and LLaMA-style transformers on a DP x TP x PP grid of MPI "
              "ranks: data, tensor and pipeline parallelism, alone or together. The same "
              "program trains on CPUs over MPI and on NVIDIA GPUs over NCCL.\n") +
          ".SH COMMANDS\n";
  for (const Command& command : commands())
    text += item(bold_words("cuboid " + command.name), command.summary + ".");
  text += ".SH OPTIONS OF CUBOID PRETRAIN\n" + option_sections();
  text += ".SH CUBOID CHECKPOINT\n" + checkpoint_sections();
  text += ".SH CUBOID BENCH COLLECTIVES\n" + bench_section();
  text += section("EXIT STATUS", kExitCodes) + section("ENVIRONMENT", kVariables);
  text += ".SH GUIDE\n";
  for (const Chapter& chapter : chapters())
    text += item(bold_words("cuboid help " + chapter.name), chapter.summary + ".");
  text +=
      ".SH EXAMPLES\n.nf\n" +
      escaped(
          "cuboid pretrain --preset demo\n"
          "mpirun -np 8 cuboid pretrain --preset demo --tensor-parallel-size 2 "
          "--pipeline-parallel-size 2\n"
          "mpirun -np 4 cuboid pretrain --max-steps 100000 --save-interval 1000 --resume auto\n") +
      ".fi\n.SH SEE ALSO\n" + escaped("mpirun(1), srun(1), sbatch(1), h5dump(1)\n");
  return text;
}

}  // namespace cuboid
