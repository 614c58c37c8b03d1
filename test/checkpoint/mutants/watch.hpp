// Limits on what the program does with one file: time, memory, and no crash. Needs
// AddressSanitizer.
#pragma once

#include <cstddef>
#include <string>

namespace cuboid::mutants {

// Exit codes of a process that goes over a limit.
inline constexpr int kExitCrash = 99;
inline constexpr int kExitHang = 98;

// A single allocation above it counts as a crash.
inline constexpr std::size_t kMaxAllocationBytes = std::size_t{256} << 20;

// Counts the memory on the heap from now on. Once.
void install_watch();

// Starts the clock for one file: after `seconds` the process ends with kExitHang, and, as after a
// crash, prints `what`.
void start_watch(const std::string& what, unsigned seconds);

// Stops the clock. The most that the heap held at once since start_watch, beyond what it held then.
std::size_t stop_watch();

}  // namespace cuboid::mutants
