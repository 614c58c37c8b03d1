#include "cuboid/collective/backend.hpp"

#include <utility>

#include "cuboid/collective/mpi_communicator.hpp"
#include "cuboid/collective/nccl_communicator.hpp"
#include "cuboid/collective/watched_communicator.hpp"

namespace cuboid {
namespace {

std::unique_ptr<Communicator> make_bare(Backend backend, MPI_Comm comm, std::string name,
                                        cudaStream_t compute_stream, bool is_watched) {
  if (backend == Backend::kMpi) {
    return std::make_unique<MpiCommunicator>(comm, std::move(name),
                                             MpiOptions{.compute_stream = compute_stream});
  }
  NcclOptions options{.compute_stream = compute_stream, .is_watched = is_watched};
  // Who is late is then the watchdog's matter, whose report says more.
  if (is_watched) options.timeout = std::chrono::hours(24);
  return std::make_unique<NcclCommunicator>(comm, std::move(name), options);
}

}  // namespace

std::unique_ptr<Communicator> make_communicator(Backend backend, MPI_Comm comm, std::string name,
                                                cudaStream_t compute_stream, Channel* channel) {
  if (channel == nullptr)
    return make_bare(backend, comm, std::move(name), compute_stream, /*is_watched=*/false);
  const Waiting waiting(channel, channel->start("set-up", 0));
  return make_watched_communicator(
      make_bare(backend, comm, std::move(name), compute_stream, /*is_watched=*/true), channel);
}

}  // namespace cuboid
