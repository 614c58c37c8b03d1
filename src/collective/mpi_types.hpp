// MPI's names for our element types and reductions.
#pragma once

#include <mpi.h>

#include <array>

#include "cuboid/base/dtype.hpp"
#include "cuboid/base/handle.hpp"
#include "cuboid/collective/communicator.hpp"

namespace cuboid {

// The type to move elements as. bf16 has none of its own: two bytes.
MPI_Datatype mpi_datatype(DType dtype);

struct MpiOpTraits {
  using Type = MPI_Op;
  static Type null() { return MPI_OP_NULL; }
  static void release(Type op) noexcept;
};

// Reductions that MPI does not have, or not as we need them: bf16, and a maximum and minimum that
// are NaN on every rank when a rank gives NaN (MPI_MAX may then differ between ranks).
class MpiOps {
 public:
  MpiOps();
  // Throws std::logic_error for uint8, which is never reduced.
  [[nodiscard]] MPI_Op get(DType dtype, ReduceOp op) const;

 private:
  using Row = std::array<Handle<MpiOpTraits>, 3>;  // by ReduceOp
  Row fp32_, fp64_, bf16_;
};

}  // namespace cuboid
