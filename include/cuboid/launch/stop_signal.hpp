// SIGUSR1 and SIGTERM: the request to save and to stop.
#pragma once

#include <string>

namespace cuboid {

// From now on the first of these signals only sets a flag, which the training loop looks at. Within
// one second further ones count as the same request: a scheduler and mpirun may both deliver it.
// Whoever signals again after that means it: the process ends at once, by that signal.
// A process that has a request must be done with it in time (see set_stop_patience): if a peer is
// dead, the agreement on stopping never comes. When time is up the process says so and ends with
// exit code 1.
void catch_stop_signals();

// The signal that asked, or 0.
[[nodiscard]] int stop_signal() noexcept;
// "SIGUSR1"
std::string name_of_signal(int signal);

// How long the process may go on after a request, in whole seconds, from the request or from this
// call on, whichever is later. 600 at the start; 0: for ever.
void set_stop_patience(unsigned seconds) noexcept;

}  // namespace cuboid
