// The residual stream between two operations: what was added to it last is not added yet, because
// the next norm does so in its own pass over it.
#pragma once

#include <ATen/core/Tensor.h>

#include "cuboid/kernels/norm.hpp"
#include "cuboid/model/weight.hpp"

namespace cuboid {

struct Residual {
  at::Tensor stream;             // [tokens, hidden]
  at::Tensor delta{};            // the same shape, used up by the addition; undefined: nothing
  const Weight* bias = nullptr;  // of delta, not added yet either; may be null
  SumMemory memory = SumMemory::kDelta;  // kNew where delta lies in a workspace

  [[nodiscard]] at::Tensor bias_value() const {
    return bias != nullptr ? bias->value : at::Tensor();
  }
  // stream + delta + bias, for who needs no norm of it.
  [[nodiscard]] at::Tensor sum() const { return add_delta(stream, delta, bias_value(), memory); }
};

}  // namespace cuboid
