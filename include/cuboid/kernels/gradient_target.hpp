// Where a kernel leaves the gradient of a small parameter: a bias or the weight of a norm.
#pragma once

#include <ATen/core/Tensor.h>

namespace cuboid {

struct GradientTarget {
  at::Tensor gradient;      // [n] fp32, fp64 where the inputs are fp64; undefined: not wanted
  bool accumulate = false;  // adds to what is there; otherwise overwrites it
};

}  // namespace cuboid
