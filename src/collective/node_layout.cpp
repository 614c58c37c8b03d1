#include "node_layout.hpp"

#include "cuboid/base/error.hpp"

namespace cuboid {
namespace {

int over_all(MPI_Comm comm, int value, MPI_Op op) {
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT, op, comm));
  return value;
}

}  // namespace

NodeLayout node_layout_of(MPI_Comm comm, int ranks_per_node) {
  const int rank = rank_in(comm);
  NodeLayout layout;
  if (ranks_per_node > 0) {
    check_mpi(MPI_Comm_split(comm, rank / ranks_per_node, rank, layout.node.out()));
  } else {
    check_mpi(
        MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, layout.node.out()));
  }
  const int on_node = rank_in(layout.node.get());
  layout.num_nodes = over_all(comm, on_node == 0 ? 1 : 0, MPI_SUM);
  layout.num_leaders = over_all(comm, size_of_comm(layout.node.get()), MPI_MIN);
  layout.largest_node = over_all(comm, size_of_comm(layout.node.get()), MPI_MAX);
  if (layout.num_nodes == 1) return layout;
  const int color = on_node < layout.num_leaders ? on_node : MPI_UNDEFINED;
  check_mpi(MPI_Comm_split(comm, color, rank, layout.peers.out()));
  return layout;
}

}  // namespace cuboid
