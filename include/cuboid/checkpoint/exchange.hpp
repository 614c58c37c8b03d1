// Moves parts of tensors between ranks, from the boxes that some hold to the boxes that others
// want: a save brings columns into rows that lie together in the file, a load brings them back. It
// is what MPI-IO does inside its collective calls; done here, a file operation that fails on one
// rank leaves no other rank waiting for it (in Open MPI 4.1 it may).
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cuboid/checkpoint/tensor_slice.hpp"
#include "cuboid/grid/shape.hpp"

namespace cuboid {

// A box of a tensor that a rank holds or wants. On that rank, `data` is its elements, contiguous.
struct Portion {
  int rank = 0;
  Box box;
  std::byte* data = nullptr;
};

// Memory that is taken piece by piece, given back at once and used again.
class Scratch {
 public:
  // Holds until clear().
  std::byte* take(std::size_t bytes);
  void clear() { num_taken_ = 0; }

 private:
  struct Block {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size = 0;
  };
  std::vector<Block> blocks_;
  std::size_t num_taken_ = 0;
};

// What is under way at one time. Those of two exchanges on one communicator do not mix as long as
// all ranks start them in the same order.
class Exchange {
 public:
  explicit Exchange(MPI_Comm comm);
  // Waits for what is under way.
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // Starts to move every element that lies in a box of `from` and in one of `to`. Called by every
  // rank that has one of these, in the same order with the same portions. `width`: bytes an
  // element. The data of both must stay until finish().
  void start(std::size_t width, std::span<const Portion> from, std::span<const Portion> to);
  // Returns when all is where it should be. Waits patiently. Throws SystemError.
  void finish();

 private:
  // A message that is not what its place in memory is: where its elements go.
  struct Unpacking {
    const std::byte* packed;
    Box part;
    Portion into;
    std::size_t width;
  };

  void receive(std::size_t width, const Portion& from, const Portion& to);
  void send(std::size_t width, const Portion& from, std::span<const Portion> to);

  MPI_Comm comm_;
  int rank_ = 0;
  Scratch scratch_;
  std::vector<Unpacking> unpacking_;
  std::vector<MPI_Request> requests_;
};

// The outermost dim that has more than one index: indices of it are the tensor's rows.
std::size_t row_dim(std::span<const std::int64_t> shape);

// Rows of one of several tensors.
struct RowPiece {
  std::size_t tensor = 0;
  Range rows;
};

// The rows of a piece divided between some of the tensor's holders, each of which gets some in one
// run, without data: at least min(a MiB, exchange_bytes) each, as long as there are so many. Small
// pieces of successive tensors go to different ranks.
std::vector<Portion> divide_rows(const TensorInfo& info, const RowPiece& piece,
                                 std::span<const Portion> holders, std::int64_t exchange_bytes);

// What of all the tensors is moved at one time: pieces that cover the tensors that have holders, in
// order, batch by batch, in each of which about exchange_bytes bytes fall to a holder, and at least
// one row is moved.
std::vector<std::vector<RowPiece>> row_batches(std::span<const TensorInfo> tensors,
                                               std::span<const std::vector<Portion>> holders,
                                               std::int64_t exchange_bytes);

}  // namespace cuboid
