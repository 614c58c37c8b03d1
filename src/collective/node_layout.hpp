// Which ranks of a communicator share a node, and who speaks for a node to the others.
#pragma once

#include <mpi.h>

#include "cuboid/grid/grid.hpp"

namespace cuboid {

// The first `num_leaders` ranks of each node are its leaders: as many as the smallest node has
// ranks. Leader i of a node has leader i of every other node as its peers.
struct NodeLayout {
  MpiComm node;   // the ranks of this node, in order
  MpiComm peers;  // this leader's; null on one node, and on ranks that lead nothing
  int num_leaders = 1;
  int num_nodes = 1;
  int largest_node = 1;  // ranks
};

// Collective over `comm`. ranks_per_node: 0 asks the machine; else so many ranks each count as a
// node (tests).
NodeLayout node_layout_of(MPI_Comm comm, int ranks_per_node = 0);

}  // namespace cuboid
