#include "cuboid/checkpoint/retain.hpp"

#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/checkpoint/damage.hpp"
#include "cuboid/checkpoint/verify.hpp"
#include "cuboid/checkpoint/wire.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {

std::vector<std::int64_t> retain_checkpoints(const std::string& folder, MPI_Comm comm,
                                             const Retention& retention, std::int64_t newest) {
  int rank = 0;
  check_mpi(MPI_Comm_rank(comm, &rank));
  std::vector<std::int64_t> steps;
  together(comm, [&] {
    if (rank == 0) steps = steps_to_remove(steps_in(folder), retention);
  });
  WireWriter writer;
  writer.put(steps);
  const std::string bytes = broadcast_text(comm, writer.bytes());
  WireReader(bytes).get(steps);
  std::erase(steps, newest);
  if (steps.empty()) return steps;
  try {
    verify_checkpoint(checkpoint_path(folder, newest), comm, {.bypass_cache = true});
  } catch (const DamagedCheckpoint& error) {
    // Nobody's mistake: the disk, or what is before it, did not keep what it was given.
    throw SystemError(
        std::string("what was just written does not read back; older checkpoints stay: ") +
        error.what());
  }
  together(comm, [&] {
    if (rank == 0) remove_checkpoints(folder, steps);
  });
  return steps;
}

}  // namespace cuboid
