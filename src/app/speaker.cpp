#include "cuboid/app/speaker.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace cuboid {

namespace {

// This rank, as the launcher says it; null where there is no launcher.
const char* launched_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"})
    if (const char* rank = std::getenv(name)) return rank;
  return nullptr;
}

}  // namespace

bool speaks_before_mpi() {
  const char* rank = launched_rank();
  return rank == nullptr || std::string(rank) == "0";
}

bool is_watched(std::FILE* stream) {
  return launched_rank() == nullptr && isatty(fileno(stream)) != 0;
}

void say_before_mpi(const std::string& text) {
  if (speaks_before_mpi()) std::fputs(text.c_str(), stdout);
}

bool wants_progress() {
  if (const char* choice = std::getenv("CUBOID_PROGRESS")) return std::string(choice) != "0";
  return isatty(STDERR_FILENO) != 0;
}

}  // namespace cuboid
