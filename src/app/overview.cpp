#include "cuboid/app/overview.hpp"

#include <vector>

#include "cuboid/app/command.hpp"
#include "cuboid/app/guide.hpp"
#include "cuboid/base/text.hpp"

namespace cuboid {

std::string overview_text() {
  using Rows = std::vector<std::vector<std::string>>;
  Rows rows;
  for (const Command& command : commands()) {
    const std::string arguments = command.arguments.empty() ? "" : " " + command.arguments;
    rows.push_back({"cuboid " + command.name + arguments, command.summary});
  }
  rows.push_back({"cuboid --version", "versions of the program and its libraries"});
  rows.push_back({"cuboid --help", "this text"});
  Rows guide;
  for (const Chapter& chapter : chapters())
    guide.push_back({"cuboid help " + chapter.name, chapter.summary});
  return "Cuboid pretrains GPT- and LLaMA-style transformers on a DP x TP x PP grid of MPI ranks.\n"
         "\n"
         "Commands (each has --help)\n" +
         table(rows, "  ") + "\nGuide\n" + table(guide, "  ") +
         "\n"
         "A first run\n"
         "  cuboid pretrain --preset demo\n"
         "  mpirun -np 8 cuboid pretrain --preset demo --tensor-parallel-size 2 "
         "--pipeline-parallel-size 2\n";
}

}  // namespace cuboid
