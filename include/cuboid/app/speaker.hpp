// Who prints, before MPI has said which rank this is: the launcher's environment knows.
#pragma once

#include <cstdio>
#include <string>

namespace cuboid {

// True on the rank that a launcher calls 0, and where there is no launcher.
bool speaks_before_mpi();
// Prints to standard output on that rank.
void say_before_mpi(const std::string& text);

// Whether `stream` is a person's terminal. Under a launcher it never is: mpirun gives its ranks a
// terminal of its own making, wherever their output goes.
bool is_watched(std::FILE* stream);

// Whether to show a progress line: CUBOID_PROGRESS=1 or 0 where set (mpirun hides the terminal from
// its ranks; jobs/ scripts set it), else whether standard error is a terminal.
bool wants_progress();

}  // namespace cuboid
