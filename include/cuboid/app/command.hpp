// The subcommands of `cuboid`. Each returns the exit code: 0 done, 1 failure of a library or the
// machine, 2 usage, 3 two checkpoints differ, 5 the training diverged, 75 (EX_TEMPFAIL of
// sysexits.h) stopped early with everything saved: to be started again.
#pragma once

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
  kStoppedExit = 75,
};

int pretrain(int argc, char** argv);    // arguments after "pretrain" begin at argv[2]
int checkpoint(int argc, char** argv);  // "cuboid checkpoint COMMAND ...", without MPI
int list_presets();

// "cuboid 1.2.3", then a line for each library: what it was built with and what runs.
std::string version_text();
// Names and versions of the same, for checkpoints.
std::vector<std::pair<std::string, std::string>> versions();

// The folder of text that is trained on without --data-dir: the C++ headers of a library that every
// build of Cuboid has.
std::string default_text_folder();

}  // namespace cuboid
