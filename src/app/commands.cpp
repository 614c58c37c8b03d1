#include <array>
#include <string>

#include "cuboid/app/checkpoint_command.hpp"
#include "cuboid/app/command.hpp"
#include "cuboid/app/overview.hpp"
#include "cuboid/app/terminal.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/config/preset.hpp"

namespace cuboid {
namespace {

// For commands that only print. An argument would be ignored, so there must be none.
int print(int argc, char** argv, const std::string& text) {
  if (argc == 2) return show_in_pages(text), kDone;
  return report_problems([&]() -> int {
    throw UsageError("cuboid " + std::string(argv[1]) + " takes no arguments, but was given '" +
                     argv[2] + "'; `cuboid --help` lists all commands");
  });
}

}  // namespace

std::span<const Command> commands() {
  static const std::array<Command, 8> kCommands = {{
      {"pretrain", "[options]", "train; under mpirun or srun on many ranks, alone on one",
       pretrain},
      {"evaluate", "[options] FILE|FOLDER", "loss of a checkpoint on validation data, on any grid",
       evaluate},
      {"checkpoint", "COMMAND ...", "look into checkpoints, verify, compare and prune them",
       checkpoint},
      {"bench", "collectives [options] [VERB...]",
       "time and check collectives on any axis of a grid: nccl-tests' table", bench},
      {"presets", "", "list named model shapes with parameters and memory", list_presets},
      {"help", "[CHAPTER]", "the guide: parallelism, checkpoints, data, slurm, performance", help},
      {"completion", "", "print a script that completes all of this in bash", print_completion},
      {"man", "", "print the manual page: cuboid man | man -l -", print_man_page},
  }};
  return kCommands;
}

int list_presets(int argc, char** argv) {
  return print(argc, argv, presets_table());
}

int print_completion(int argc, char** argv) {
  return print(argc, argv, completion_script());
}

int print_man_page(int argc, char** argv) {
  return print(argc, argv, man_page());
}

}  // namespace cuboid
