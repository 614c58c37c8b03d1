// Steps that all ranks take together: one that fails on any rank fails on all, so that no rank goes
// on alone into a collective call that the others never make.
#pragma once

#include <mpi.h>

#include <exception>
#include <functional>
#include <source_location>
#include <string>
#include <vector>

#include "cuboid/base/error.hpp"

namespace cuboid {

// How a step went on one rank.
struct Outcome {
  enum class Kind : unsigned char { kGood, kDamaged, kUsage, kSystem, kInvariant };
  Kind kind = Kind::kGood;
  std::vector<std::string> problems;
};

// Runs `step` here and catches what it throws.
Outcome attempt(const std::function<void()>& step);

// Collective. Returns where every rank's outcome is good. Otherwise throws the same on all ranks,
// of the worst kind that any rank had: std::logic_error (a broken invariant) or SystemError of the
// lowest rank that had one, or UsageError (DamagedCheckpoint where no rank has found anything
// worse) with the problems of all ranks, each once.
void agree(MPI_Comm comm, const Outcome& outcome,
           std::source_location where = std::source_location::current());

// attempt, then agree.
void together(MPI_Comm comm, const std::function<void()>& step,
              std::source_location where = std::source_location::current());

}  // namespace cuboid
