#include "cuboid/app/speaker.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace cuboid {

bool speaks_before_mpi() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (const char* rank = std::getenv(name)) return std::string(rank) == "0";
  }
  return true;
}

void say_before_mpi(const std::string& text) {
  if (speaks_before_mpi()) std::fputs(text.c_str(), stdout);
}

bool wants_progress() {
  if (const char* choice = std::getenv("CUBOID_PROGRESS")) return std::string(choice) != "0";
  return isatty(STDERR_FILENO) != 0;
}

}  // namespace cuboid
