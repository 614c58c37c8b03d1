// The verbs over MPI: buffers in host memory, and in device memory through pinned host memory.
#pragma once

#include <mpi.h>

#include <memory>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/collective/cuda.hpp"
#include "cuboid/grid/shape.hpp"

namespace cuboid {

class MpiState;
class SharedReducer;
class MpiWork;

struct MpiOptions {
  // Where device buffers are computed on; null is the legacy default stream (LibTorch's default).
  cudaStream_t compute_stream = nullptr;
  // Longer messages are split: MPI counts in int, and some versions multiply counts by sizes in it.
  std::int64_t max_message_bytes = std::int64_t{1} << 30;
  // Reductions proceed in pieces that stay in the cache between arrival and sum.
  std::int64_t piece_bytes = std::int64_t{1} << 20;
  // So many ranks in a row count as a node; 0: those that the machine says share memory.
  int ranks_per_node = 0;
};

// Sums in the order that MPI chooses (all_reduce) or in rank order (reduce_scatter: MPI's own is
// several times slower, see src/collective/README.md; all_reduce as well in memory of allocate(),
// there over each node and then between nodes). Progress is made inside calls of MPI, so an
// operation under way advances in poll() and wait() of any communicator.
class MpiCommunicator final : public Communicator {
 public:
  // Collective over `comm`, which is duplicated: nothing that is sent here meets what is sent
  // there.
  MpiCommunicator(MPI_Comm comm, std::string name, const MpiOptions& options = {});
  ~MpiCommunicator() override;

  [[nodiscard]] PendingWork start_all_reduce(Buffer inout, ReduceOp op) override;
  [[nodiscard]] PendingWork start_all_gather(ConstBuffer send, Buffer receive,
                                             std::span<const std::int64_t> counts) override;
  [[nodiscard]] PendingWork start_reduce_scatter(ConstBuffer send, Buffer receive, ReduceOp op,
                                                 std::span<const std::int64_t> counts) override;
  [[nodiscard]] PendingWork start_broadcast(Buffer inout, int root) override;
  // Throws when a message is shorter than the receiver expects. A longer one is an error where MPI
  // notices (Open MPI 4.1: up to the eager limit, 4 KiB within a node).
  [[nodiscard]] PendingWork start_exchange(std::span<const Transfer> transfers) override;
  void barrier() override;
  // Shared memory where several ranks run on a node and there is room for it.
  [[nodiscard]] std::byte* allocate(std::size_t bytes) override;
  [[nodiscard]] bool shares(const Buffer& buffer) const override;
  [[nodiscard]] std::string why_not_shared() const override { return why_not_shared_; }

 private:
  void run_all_reduce(Buffer inout, ReduceOp op) override;
  void run_reduce_scatter(ConstBuffer send, Buffer receive, ReduceOp op,
                          std::span<const std::int64_t> counts) override;
  struct ScatterJob;
  void post_reduce_scatter(MpiWork& work, const ScatterJob& job, Range slice);
  void send_pieces(MpiWork& work, Buffer host, int peer, int tag);
  void receive_pieces(MpiWork& work, Buffer host, int peer, int tag);

  MpiOptions options_;
  std::unique_ptr<MpiState> state_;
  std::unique_ptr<SharedReducer>
      shared_;  // null: nothing was allocated, or every rank is on a node of its own
  std::string why_not_shared_;
};

}  // namespace cuboid
