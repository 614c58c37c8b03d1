// All-reduce in place, in memory that the ranks of a node share: each rank sums an equal share of
// the elements over all buffers of its node, in rank order, and writes the result into all of them.
// Nothing is copied in or out. Where there are more nodes, it sums the share with the ranks that
// lead the same share on the other nodes, by MPI, before it writes.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/grid/shape.hpp"
#include "mpi_types.hpp"
#include "node_layout.hpp"
#include "shared_memory.hpp"

namespace cuboid {

class SharedReducer {
 public:
  // Collective over `comm`, whose layout it is; both `comm` and `ops` must outlive this.
  // `piece_bytes`: of a message between nodes. Throws NoSharedMemory, on all ranks.
  SharedReducer(MPI_Comm comm, NodeLayout layout, const MpiOps& ops, std::int64_t piece_bytes);

  // Memory of this rank, aligned to 64 bytes and zero, that start() takes buffers in; it lives as
  // long as this. Collective, the same size on all ranks. Throws NoSharedMemory, on all ranks.
  std::byte* allocate(std::size_t bytes);
  // Whether the buffer lies in memory of allocate().
  [[nodiscard]] bool holds(const Buffer& buffer) const { return find(buffer) != nullptr; }

  // Starts to reduce a buffer that this holds, at the same place in the same allocation on all
  // ranks. Operations proceed in the order of their start, in progress(). Returns its number, from
  // 1 on.
  std::uint64_t start(const Buffer& inout, ReduceOp op);
  // Does what this rank can do now, at most about a millisecond of it. Throws std::logic_error
  // where ranks have started different operations.
  void progress() { progress(/*threads=*/1); }
  [[nodiscard]] std::uint64_t num_complete() const { return num_complete_; }
  // Until the operation is complete; all threads of this rank sum meanwhile.
  void wait_for(std::uint64_t operation);

 private:
  void progress(int threads);

  // A line of the cache for each rank. Counts of operations: they only grow.
  struct alignas(64) Slot;
  // Elements of this rank's share that are on their way between nodes.
  struct Piece {
    Range elements;
    MPI_Request request;
  };
  struct Operation {
    const SharedMemory* memory;
    std::size_t offset;
    std::int64_t count;
    DType dtype;
    ReduceOp op;
    std::uint64_t number;
    bool all_ready = false;
    std::int64_t next = 0;  // element of this rank's share
    std::int64_t end = 0;
    std::deque<Piece> between_nodes{};
  };

  [[nodiscard]] const SharedMemory* find(const Buffer& buffer) const;
  [[nodiscard]] Slot& slot(int rank) const;
  [[nodiscard]] bool all_are_ready(const Operation& operation) const;
  // Both: true once everyone on this node has it.
  bool sum_share(Operation& operation, std::size_t& bytes, int threads) const;
  bool finish_pieces(Operation& operation) const;
  void sum_a_piece(const Operation& operation, const Range& piece) const;
  void start_between_nodes(Operation& operation, const Range& piece) const;
  void write_to_node(const Operation& operation, const Range& piece) const;

  MPI_Comm comm_;
  NodeLayout layout_;
  const MpiOps& ops_;
  std::size_t piece_bytes_;
  int rank_ = 0;  // on the node
  int size_ = 1;
  std::unique_ptr<SharedMemory> slots_;
  std::vector<std::unique_ptr<SharedMemory>> memories_;
  std::deque<Operation> under_way_;
  std::uint64_t num_started_ = 0;
  std::uint64_t num_complete_ = 0;
};

}  // namespace cuboid
