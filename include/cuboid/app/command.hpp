// The subcommands of `cuboid`. Each returns the exit code: 0 done, 1 failure of a library or the
// machine, 2 usage, 3 two checkpoints differ, 5 the training diverged, 6 ranks waited for others
// longer than --comm-timeout, 75 (EX_TEMPFAIL of sysexits.h) stopped early with everything saved:
// to be started again.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cuboid {

enum ExitCode : int {
  kDone = 0,
  kFailed = 1,
  kUsage = 2,
  kDifferent = 3,
  kDivergedExit = 5,
  kHungExit = 6,
  kStoppedExit = 75,
};

struct Command {
  std::string name;
  std::string arguments;  // as --help shows them, "[options]"
  std::string summary;    // one line
  // Gets the whole command line: what follows the command's name begins at argv[2].
  int (*run)(int argc, char** argv) = nullptr;
};

// In the order of --help.
std::span<const Command> commands();

int pretrain(int argc, char** argv);
int evaluate(int argc, char** argv);
int checkpoint(int argc, char** argv);    // "cuboid checkpoint COMMAND ...", without MPI
int bench(int argc, char** argv);         // "cuboid bench collectives ..."
int list_presets(int argc, char** argv);  // without MPI, as are those below
int help(int argc, char** argv);          // "cuboid help CHAPTER"
int print_completion(int argc, char** argv);
int print_man_page(int argc, char** argv);

// "cuboid 1.2.3", then a line for each library: what it was built with and what runs.
std::string version_text();
// Names and versions of the same, for checkpoints.
std::vector<std::pair<std::string, std::string>> versions();

// The folder of text that is trained on without --data-dir: the C++ headers of a library that every
// build of Cuboid has.
std::string default_text_folder();

}  // namespace cuboid
