#include "cuboid/launch/memory.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>

namespace cuboid {
namespace {

// The first number of a file; none where there is no such file, or a word ("max").
std::optional<std::int64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::int64_t value = 0;
  return file >> value ? std::optional(value) : std::nullopt;
}

// The number after a word that begins a line: "MemAvailable: 123 kB", "inactive_file 4096".
std::int64_t number_after(const std::string& path, const std::string& word) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream parts(line);
    std::string first;
    std::int64_t value = 0;
    if (parts >> first >> value && first == word) return value;
  }
  return 0;
}

// Files in memory are given back when a limit is reached, but for those in use as shared memory.
std::optional<std::int64_t> left_of_group(const std::string& folder, const char* limit,
                                          const char* usage, const std::string& prefix) {
  const auto most = number_in(folder + limit);
  const auto used = number_in(folder + usage);
  if (!most || !used) return std::nullopt;
  const std::int64_t files = number_after(folder + "/memory.stat", prefix + "inactive_file") +
                             number_after(folder + "/memory.stat", prefix + "active_file");
  return std::max<std::int64_t>(0, *most - *used + files);
}

// Of the group at `path` below `mount` and of all groups that it is in.
std::int64_t least_left(const std::string& mount, std::string path, bool is_second_version,
                        std::int64_t least) {
  while (true) {
    const auto left = is_second_version
                          ? left_of_group(mount + path, "/memory.max", "/memory.current", "")
                          : left_of_group(mount + path, "/memory.limit_in_bytes",
                                          "/memory.usage_in_bytes", "total_");
    if (left) least = std::min(least, *left);
    if (path.empty() || path == "/") return least;
    path.erase(path.rfind('/'));
  }
}

}  // namespace

double peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024.0;
}

std::int64_t available_memory(const std::string& root) {
  std::int64_t least = number_after(root + "/proc/meminfo", "MemAvailable:") * 1024;
  // "0::/slurm/job_7" (version 2), "9:memory:/slurm/job_7" (version 1).
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t colon = line.find(':');
    const std::size_t second = line.find(':', colon + 1);
    if (second == std::string::npos) continue;
    const std::string kinds = "," + line.substr(colon + 1, second - colon - 1) + ",";
    const std::string path = line.substr(second + 1);
    if (kinds == ",,") least = least_left(root + "/sys/fs/cgroup", path, true, least);
    if (kinds.find(",memory,") != std::string::npos)
      least = least_left(root + "/sys/fs/cgroup/memory", path, false, least);
  }
  return least;
}

}  // namespace cuboid
