// The MPI session of this process, and where its ranks are.
#pragma once

#include <mpi.h>

#include <string>
#include <vector>

namespace cuboid {

// Initialises MPI with MPI_THREAD_MULTIPLE (background threads communicate) and finalises it.
// Failures come back as codes and are thrown as SystemError. One for each process.
class MpiSession {
 public:
  // Throws SystemError when MPI gives less than MPI_THREAD_MULTIPLE.
  MpiSession(int* argc, char*** argv);
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  ~MpiSession();

  [[nodiscard]] MPI_Comm world() const { return MPI_COMM_WORLD; }
  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }
  // Whether all ranks call this within `seconds`: an error that all of them have found can end in
  // good order, one that only some have must abort. For the end of a run, once.
  [[nodiscard]] bool everyone_arrives(double seconds) const;
  // Ends all ranks at once, without waiting for any of them.
  [[noreturn]] void abort(int exit_code) const;

 private:
  int rank_ = 0;
  int size_ = 1;
  MPI_Comm ending_ = MPI_COMM_NULL;  // for everyone_arrives(): no other call can match its own
};

// Which rank runs on which node.
struct NodeMap {
  int local_rank = 0;  // among the ranks of this node
  int local_size = 1;
  std::vector<std::string> hosts;  // of each node, in order of its first rank
  std::vector<int> node_of;        // index into hosts, for each rank of the world
  int cores = 1;                   // that this process may run on
  int ranks_on_these_cores = 1;    // ranks of this node with exactly these cores

  // Threads for this rank so that the node's ranks together use each core once.
  [[nodiscard]] int threads_per_rank() const;
  // True where ranks outnumber the cores they run on.
  [[nodiscard]] bool oversubscribed() const { return ranks_on_these_cores > cores; }
};

// Collective over `world`.
NodeMap map_nodes(MPI_Comm world);

}  // namespace cuboid
