// Saving: a collective, parallel write of whole logical tensors to one HDF5 file.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <span>
#include <string>

#include "cuboid/checkpoint/metadata.hpp"
#include "cuboid/checkpoint/tensor_slice.hpp"

namespace cuboid {

struct SaveOptions {
  // Sets the disk space aside before anything is written, so that a full disk is noticed at once.
  bool reserve_space = true;
  // Of what a rank writes at once where ranks bring boxes of columns into runs of the file first.
  // It takes up to four times as much memory.
  std::int64_t exchange_bytes = std::int64_t{4} << 20;
};

// Collective over `comm`, which no other thread may use meanwhile; neither may any use HDF5, which
// is not thread-safe. Saves the slices with writes = true of all ranks; they must cover every
// tensor exactly once. The slices' data must not change until it returns. `metadata` counts on rank
// 0.
//
// The file appears at `path` whole, synced and sealed, or not at all: it grows under
// partial_path(path) and is renamed last, replacing an earlier file of that name. Throws the same
// on all ranks: SystemError naming file and reason (the partial file is removed, other files are
// untouched), std::logic_error where the slices contradict one another. SIGXFSZ must be ignored
// for a file-size limit to be an error and not the end of the process.
void save_checkpoint(const std::string& path, MPI_Comm comm, std::span<const TensorSlice> slices,
                     const Metadata& metadata, const SaveOptions& options = {});

}  // namespace cuboid
