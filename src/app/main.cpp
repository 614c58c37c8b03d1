// The program: dispatches to a subcommand.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cuboid/app/command.hpp"
#include "cuboid/app/overview.hpp"
#include "cuboid/app/speaker.hpp"
#include "cuboid/app/terminal.hpp"
#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

int unknown_command(const std::string& name) {
  std::vector<std::string> known;
  for (const Command& command : commands()) known.push_back(command.name);
  known.insert(known.end(), {"--help", "--version"});
  const std::string near = nearest_name(name, known);
  if (speaks_before_mpi()) {
    std::fprintf(stderr, "%sunknown command '%s'%s; legal are %s\n", error_prefix().c_str(),
                 name.c_str(), near.empty() ? "" : (": did you mean '" + near + "'?").c_str(),
                 join(known, ", ").c_str());
  }
  return kUsage;
}

int dispatch(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "";
  for (const Command& command : commands())
    if (command.name == name) return command.run(argc, argv);
  if (name.empty() || name == "--help" || name == "-h") {
    show_in_pages(overview_text());
    return name.empty() ? kUsage : kDone;
  }
  if (name == "--version") {
    say_before_mpi(version_text());
    return kDone;
  }
  return unknown_command(name);
}

// LibTorch's operators take 0.14 s to be taken apart, a third of `cuboid --version`. Tools that
// were loaded before the program (profilers, leak checkers) write what they have found at its end.
[[noreturn]] void leave(int code) {
  for (const char* tool : {"LD_PRELOAD", "LD_AUDIT", "CUDA_INJECTION64_PATH"})
    if (std::getenv(tool) != nullptr) std::exit(code);
#ifdef __SANITIZE_ADDRESS__
  std::exit(code);
#endif
  std::fflush(nullptr);
  std::_Exit(code);
}

}  // namespace
}  // namespace cuboid

int main(int argc, char** argv) {
  cuboid::leave(cuboid::dispatch(argc, argv));
}
