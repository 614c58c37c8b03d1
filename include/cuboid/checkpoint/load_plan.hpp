// Who wants what of a checkpoint's tensors, and who reads it: the same on every rank.
#pragma once

#include <mpi.h>

#include <span>
#include <string>
#include <vector>

#include "cuboid/checkpoint/exchange.hpp"
#include "cuboid/checkpoint/tensor_slice.hpp"

namespace cuboid {

struct LoadPlan {
  std::vector<TensorInfo> tensors;  // of the file, by ascending name
  // For each tensor, who wants which box, where ranks want the same elements or short runs: these
  // ranks divide the reading and trade. None where each reads its boxes by itself.
  std::vector<std::vector<Portion>> holders;
  // For each tensor, this rank's slices of it (empty boxes left out), by their places in the list.
  std::vector<std::vector<std::size_t>> mine;
};

// Collective over `comm`. Throws UsageError on all ranks with every tensor that is wanted and not
// in the file, or there with another shape or dtype, or left over: of a group of which any rank
// wants a tensor, some rank must want every tensor. `path` is for the text.
LoadPlan make_load_plan(MPI_Comm comm, const std::string& path, std::vector<TensorInfo> tensors,
                        std::span<const TensorSlice> slices);

}  // namespace cuboid
