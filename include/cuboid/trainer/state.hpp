// The state of a run between its memory and a checkpoint: weights and moments as slices of whole
// logical tensors, "parameters/NAME" (master weights), "optimizer/exp_avg/NAME" and
// "optimizer/exp_avg_sq/NAME" for each logical parameter.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "cuboid/checkpoint/tensor_slice.hpp"
#include "cuboid/grid/grid.hpp"
#include "cuboid/model/weight.hpp"
#include "cuboid/optimizer/adamw.hpp"

namespace cuboid {

// Slices with the host memory that they view: on CPUs the live memory, on GPUs copies of it.
struct StateSlices {
  std::vector<TensorSlice> slices;
  std::vector<at::Tensor> host;
};

// All that this rank holds, to be loaded; saved so, the first replica writes.
StateSlices state_slices(const WeightStore& store, const AdamW& optimizer, const Grid& grid);

// What this rank has to save: replicas (DP ranks, and TP ranks of what is not sharded) share each
// large tensor, and take turns with small ones, so that all ranks write about as much.
StateSlices shares_to_save(const WeightStore& store, const AdamW& optimizer, const Grid& grid);

// The same as a copy in `memory`, which grows where it is too small: [elements of all shares].
StateSlices copy_of_shares(const WeightStore& store, const AdamW& optimizer, const Grid& grid,
                           at::Tensor& memory);

// Copies loaded slices back to the device (nothing to do on CPUs) and refreshes the weights in
// compute dtype. `state` comes from state_slices.
void restore_state(const StateSlices& state, WeightStore& store, const AdamW& optimizer);

// The same of the weights alone, for who does not train.
StateSlices parameter_slices(const WeightStore& store);
void restore_parameters(const StateSlices& state, WeightStore& store);

}  // namespace cuboid
