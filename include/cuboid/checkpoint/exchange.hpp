// Brings the boxes of a tensor into runs: ranks that hold columns, say, trade them for rows, so
// that each writes one piece of the file that lies together. It is what MPI-IO does inside a
// collective write; done here, a write that fails on one rank leaves no other rank waiting for it
// (Open MPI 4.1's collective write does).
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cuboid/checkpoint/tensor_slice.hpp"
#include "cuboid/grid/shape.hpp"

namespace cuboid {

// A box of a tensor that a rank holds.
struct Holder {
  int rank = 0;
  Box box;
};

// A box that is one run of its tensor, with its elements.
struct Portion {
  Box box;
  std::vector<std::byte> bytes;
};

// The outermost dim that has more than one index: indices of it are the tensor's rows.
std::size_t row_dim(std::span<const std::int64_t> shape);

// Consecutive ranges of rows that cover the tensor, each of about `bytes` bytes for each of
// `num_holders` holders, and of at least one row.
std::vector<Range> row_batches(const TensorInfo& tensor, std::size_t num_holders,
                               std::int64_t bytes);

// Called by every rank that holds a box, in the same order of tensors and batches. Divides the rows
// evenly between the holders and returns this rank's parts, without empty ones. `mine` are this
// rank's slices, in the order of its boxes among the holders.
std::vector<Portion> exchange(MPI_Comm comm, const TensorInfo& tensor,
                              std::span<const Holder> holders,
                              std::span<const TensorSlice* const> mine, Range rows);

}  // namespace cuboid
