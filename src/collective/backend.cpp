#include "cuboid/collective/backend.hpp"

#include <utility>

#include "cuboid/collective/mpi_communicator.hpp"
#include "cuboid/collective/nccl_communicator.hpp"

namespace cuboid {

std::unique_ptr<Communicator> make_communicator(Backend backend, MPI_Comm comm, std::string name,
                                                cudaStream_t compute_stream) {
  if (backend == Backend::kNccl) {
    return std::make_unique<NcclCommunicator>(comm, std::move(name),
                                              NcclOptions{.compute_stream = compute_stream});
  }
  return std::make_unique<MpiCommunicator>(comm, std::move(name),
                                           MpiOptions{.compute_stream = compute_stream});
}

}  // namespace cuboid
