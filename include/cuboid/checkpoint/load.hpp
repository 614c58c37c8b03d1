// Loading: every rank gets its own boxes, whatever grid wrote the file.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <span>
#include <string>

#include "cuboid/checkpoint/metadata.hpp"
#include "cuboid/checkpoint/tensor_slice.hpp"

namespace cuboid {

struct LoadOptions {
  // Of what a rank reads at once where ranks trade. It takes up to four times as much memory.
  std::int64_t exchange_bytes = std::int64_t{4} << 20;
};

// Collective over `comm`. Fills the slices' data with their boxes of the tensors of their names and
// returns the metadata (the history on rank 0 only). Boxes may overlap, repeat or leave gaps
// (`writes` does not matter); of a group (what a name has before its last '/') of which any rank
// wants a tensor, some rank must want every tensor.
//
// Every tensor of which anything is read is verified as a whole: by the digests of the boxes that
// were read where these make up the tensor, else by reading it again in whole. Throws the same on
// all ranks: UsageError or DamagedCheckpoint where it is no readable checkpoint (CheckpointReader),
// UsageError listing all tensors that are missing, left over or of another shape or dtype;
// DamagedCheckpoint listing all that are damaged; SystemError where reading fails. After a throw
// the data is not to be used.
Metadata load_checkpoint(const std::string& path, MPI_Comm comm,
                         std::span<const TensorSlice> slices, const LoadOptions& options = {});

}  // namespace cuboid
