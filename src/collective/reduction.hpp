// Element-wise reductions of host memory, for the MPI backend.
#pragma once

#include <cstdint>
#include <span>

#include "cuboid/base/dtype.hpp"
#include "cuboid/collective/communicator.hpp"

namespace cuboid {

// out[i] = parts[0][i] op parts[1][i] op ..., in that order, for i < count. bf16 is accumulated in
// fp32 and rounded once. `out` may be one of the parts; otherwise nothing may overlap. A NaN in any
// part makes a NaN, also for kMax and kMin: every order of the parts gives the same bits (but for
// the payload of NaNs) where the operation is exact.
void reduce_parts(DType dtype, ReduceOp op, std::span<const void* const> parts, void* out,
                  std::int64_t count);

}  // namespace cuboid
