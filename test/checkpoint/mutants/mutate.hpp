// Mutants of a checkpoint: what disks, networks, editors and enemies do to files.
#pragma once

#include <cstdint>
#include <string>

#include "cuboid/checkpoint/seal.hpp"

namespace cuboid::mutants {

// A checkpoint as bytes, and where its seal says that its tensors lie.
struct Original {
  std::string bytes;
  Seal seal;
};

Original read_original(const std::string& path);

struct Mutant {
  std::string what;  // was done to the checkpoint, for a person
  std::string bytes;
  // A hole of this many bytes (zeros that take no space) before byte `hole_at` of `bytes`.
  std::int64_t hole_bytes = 0;
  std::size_t hole_at = 0;
};

// Mutant `number` of checkpoint `a`: a pure function of its arguments. `b` is another checkpoint of
// the same run, for mixtures of two. About one in fifty turns out to be `a` or `b` unchanged.
Mutant make_mutant(const Original& a, const Original& b, std::uint64_t seed, std::uint64_t number);

// The same for what only a forger does: structure or metadata damaged, and sealed again.
Mutant make_forgery(const Original& a, std::uint64_t seed, std::uint64_t number);

// Creates or replaces the file.
void write_mutant(const std::string& path, const Mutant& mutant);

}  // namespace cuboid::mutants
