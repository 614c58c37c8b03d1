// The norm of the whole model's gradient, over all stages and slices, and clipping by it.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/model/weight.hpp"

namespace cuboid {

// Counts every element of every logical parameter once: slices on each tensor-parallel rank, whole
// parameters on the first one, tied copies and gradient-only weights never, padding never. Squares
// add up in fp64, in an order that depends on the layout only (not on threads or timing).
class GradientNorm {
 public:
  // The store must be allocated; store and communicator must outlive this. `model_parallel` is
  // TP x PP of one replica; `tp_rank` this rank's place in its tensor-parallel group.
  GradientNorm(const WeightStore& store, Communicator& model_parallel, int tp_rank);

  // Collective over model_parallel, after gradients have been reduced and tied ones finished. The
  // same bits on all its ranks, and on every replica with the same gradients. Not finite where a
  // gradient is not: that is the caller's to act on.
  [[nodiscard]] double compute() const;
  // Its two halves, for who reads other numbers of the device as well: the squares of each rank's
  // part, fp64 [ranks] on the device, without waiting for it; and the norm of them.
  [[nodiscard]] at::Tensor gather() const;
  [[nodiscard]] static double norm_of(std::span<const double> squares);

  // What this rank counts, as ranges of the flat gradients.
  [[nodiscard]] const std::vector<Range>& counted() const { return counted_; }

 private:
  const WeightStore& store_;
  Communicator& model_parallel_;
  std::vector<Range> counted_;
};

// Sum of squares over ranges of a contiguous fp32 or fp64 tensor of one dim: fp64 [1] on the same
// device.
at::Tensor sum_of_squares(const at::Tensor& flat, std::span<const Range> ranges);

// What gradients are multiplied by so that their norm is at most `max_norm`:
// min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_; 1 for max_norm 0 (no
// clipping).
double clip_factor(double norm, double max_norm);

}  // namespace cuboid
