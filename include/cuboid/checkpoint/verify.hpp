// Verifying a checkpoint: every byte of it against its digests.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <functional>
#include <string>

namespace cuboid {

struct VerifyOptions {
  int num_threads = 1;
  // Reads from the disk, not from the memory in which the system keeps what was written last.
  bool bypass_cache = false;
  // Called now and then, from one thread at a time, with the bytes of tensors that this rank has
  // read and those that it has to read.
  std::function<void(std::int64_t bytes_done, std::int64_t bytes_in_all)> progress = {};
};

struct Verified {
  std::int64_t num_tensors = 0;
  std::int64_t bytes = 0;  // of the file
};

// Checks seal, structure and the digest of every tensor. Throws DamagedCheckpoint naming every
// tensor that is damaged, UsageError where it is no checkpoint that can be read (CheckpointReader),
// SystemError where reading fails.
Verified verify_checkpoint(const std::string& path, const VerifyOptions& options = {});

// The same, collective over `comm`: each rank reads a share. Throws the same on all ranks.
Verified verify_checkpoint(const std::string& path, MPI_Comm comm,
                           const VerifyOptions& options = {});

}  // namespace cuboid
