// Who saves what: the tensors of all ranks as one list, the same on every rank.
#pragma once

#include <mpi.h>

#include <span>
#include <vector>

#include "cuboid/checkpoint/exchange.hpp"
#include "cuboid/checkpoint/tensor_slice.hpp"

namespace cuboid {

struct SavePlan {
  std::vector<TensorInfo> tensors;  // by ascending name; their digests are filled in
  // For each tensor, who holds which box, where some box is many runs of the tensor: these ranks
  // exchange before they write. None where each box is one run.
  std::vector<std::vector<Portion>> holders;
  // For each tensor, this rank's slices that it writes (empty boxes left out).
  std::vector<std::vector<const TensorSlice*>> mine;
};

// Collective over `comm`; `slices` must outlive the plan. Throws std::logic_error on all ranks
// where ranks disagree about a tensor, or where the boxes do not cover one exactly once.
SavePlan make_save_plan(MPI_Comm comm, std::span<const TensorSlice> slices);

}  // namespace cuboid
