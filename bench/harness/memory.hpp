// Settings from the environment, and this process's memory.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

namespace cuboid::harness {

inline std::int64_t setting(const char* name, std::int64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::stoll(text) : otherwise;
}

// "VmHWM:" or "VmRSS:" of this process, in bytes.
inline double memory_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kib = 0;
    if (word == field && status >> kib) return kib * 1024;
  }
  return 0;
}

inline double peak_bytes() {
  return memory_bytes("VmHWM:");
}
// The peak begins anew; returns what is held now.
inline double restart_peak_bytes() {
  std::ofstream("/proc/self/clear_refs") << 5;
  return memory_bytes("VmRSS:");
}

}  // namespace cuboid::harness
