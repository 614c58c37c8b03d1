// The program: dispatches to a subcommand.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "cuboid/app/command.hpp"
#include "cuboid/app/speaker.hpp"
#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

constexpr const char* kUsageText =
    "Cuboid pretrains GPT- and LLaMA-style transformers on a DP x TP x PP grid of MPI ranks.\n"
    "\n"
    "  cuboid pretrain [options]   train; under mpirun or srun on many ranks, alone on one\n"
    "  cuboid checkpoint           look into checkpoints, verify, compare and prune them\n"
    "  cuboid presets              list named model shapes with parameters and memory\n"
    "  cuboid --version            versions of the program and its libraries\n"
    "  cuboid --help               this text\n"
    "\n"
    "`cuboid pretrain --help` lists all options. A first run:\n"
    "  cuboid pretrain --preset demo\n"
    "  mpirun -np 8 cuboid pretrain --preset demo --tensor-parallel-size 2 "
    "--pipeline-parallel-size 2\n";

int unknown_command(const std::string& name) {
  const std::array<std::string, 5> known = {"pretrain", "checkpoint", "presets", "--help",
                                            "--version"};
  const std::string near = nearest_name(name, known);
  if (speaks_before_mpi()) {
    std::fprintf(stderr,
                 "cuboid: error: unknown command '%s'%s; legal are pretrain, checkpoint, "
                 "presets, --help and --version\n",
                 name.c_str(), near.empty() ? "" : (": did you mean '" + near + "'?").c_str());
  }
  return kUsage;
}

int dispatch(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "--help";
  if (command == "pretrain") return pretrain(argc, argv);
  if (command == "checkpoint") return checkpoint(argc, argv);
  if (command == "presets") return list_presets();
  if (command == "--help" || command == "-h" || command == "help") {
    say_before_mpi(kUsageText);
    return argc > 1 ? kDone : kUsage;
  }
  if (command == "--version") {
    say_before_mpi(version_text());
    return kDone;
  }
  return unknown_command(command);
}

}  // namespace
}  // namespace cuboid

int main(int argc, char** argv) {
  return cuboid::dispatch(argc, argv);
}
