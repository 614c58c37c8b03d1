// What happens when a checkpoint is read, in all the ways in which the program reads one.
#pragma once

#include <string>
#include <vector>

namespace cuboid::mutants {

enum class Outcome : unsigned char {
  kRefused,  // UsageError that names the file
  kWhole,    // read, and everything in it is as in one of the originals
  kWrong,    // read, and something is not
  kFailed,   // another error
};

struct Reading {
  Outcome outcome = Outcome::kRefused;
  std::string text;  // of the error
};

// Everything that a checkpoint holds (metadata, tensors, values), as bytes. Throws as
// CheckpointReader does, and DamagedCheckpoint where a tensor does not have its digest.
std::string contents_of(const std::string& path);

// One process, without MPI: structure, metadata, the digest of every tensor, every value.
Reading read_alone(const std::string& path, const std::vector<std::string>& originals);

// All checksums, as `cuboid checkpoint verify` has it: whole or not; the values are not compared.
Reading verify(const std::string& path);

// What a run does to go on: load_checkpoint of every tensor of `like`, an undamaged checkpoint.
// Collective over MPI_COMM_SELF. `originals` are what loaded_contents gives for the originals.
Reading load(const std::string& path, const std::string& like,
             const std::vector<std::string>& originals);
std::string loaded_contents(const std::string& path, const std::string& like);

}  // namespace cuboid::mutants
