// The state of a run between its memory and a checkpoint: weights and moments as slices of whole
// logical tensors.
#pragma once

#include <string>
#include <vector>

#include "cuboid/checkpoint/metadata.hpp"
#include "cuboid/checkpoint/tensor_slice.hpp"
#include "cuboid/grid/grid.hpp"
#include "cuboid/model/weight.hpp"
#include "cuboid/optimizer/adamw.hpp"

namespace cuboid {

// This rank's slices, with the host memory that they view.
struct StateSlices {
  std::vector<TensorSlice> slices;
  std::vector<at::Tensor> host;  // copies of device tensors; for CPUs the tensors themselves
};

// "parameters/NAME" (master weights), "optimizer/exp_avg/NAME" and "optimizer/exp_avg_sq/NAME" for
// each logical parameter of this rank. Views of the live memory on CPUs, copies on GPUs.
StateSlices state_slices(const WeightStore& store, const AdamW& optimizer, const Grid& grid);

// Copies loaded slices back to the device (nothing to do on CPUs) and refreshes the weights in
// compute dtype. `state` comes from state_slices.
void restore_state(const StateSlices& state, WeightStore& store, const AdamW& optimizer);

}  // namespace cuboid
