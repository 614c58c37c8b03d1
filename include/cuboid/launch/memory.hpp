// How much memory there is to take, and how much was taken.
#pragma once

#include <cstdint>
#include <string>

namespace cuboid {

// Bytes that the processes of this node may still take: what the kernel calls available, or, where
// that is less, what the limit of this process's control group (a batch job's) leaves. `root` comes
// before /proc and /sys, for tests. 0 where the system does not say.
std::int64_t available_memory(const std::string& root = "");

// Largest resident size of this process so far, in bytes: libraries and shared memory included, so
// that pages of several processes count in each that has touched them.
double peak_resident_bytes();

}  // namespace cuboid
