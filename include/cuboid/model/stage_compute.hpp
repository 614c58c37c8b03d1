// What the pipeline executor asks of a stage. The real one is Stage; tests bring smaller ones.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace cuboid {

class StageCompute {
 public:
  StageCompute() = default;
  StageCompute(const StageCompute&) = delete;
  StageCompute& operator=(const StageCompute&) = delete;
  virtual ~StageCompute() = default;

  // Shape and type of the activation that passes between stages: [tokens, hidden].
  [[nodiscard]] virtual std::vector<std::int64_t> boundary_shape() const = 0;
  [[nodiscard]] virtual at::TensorOptions boundary_options() const = 0;

  // Forward of one micro-batch; keeps what its backward needs. `input` is undefined on the first
  // stage; the result is undefined on the last, which keeps the loss.
  virtual at::Tensor forward(int micro_batch, const at::Tensor& input) = 0;
  // Backward of one micro-batch; frees what its forward kept. `gradient` is that of the forward's
  // result (undefined on the last stage), and is used up; returns that of its input (undefined on
  // the first). `is_last`: no micro-batch comes after it in this step, so finished gradients may be
  // reduced.
  virtual at::Tensor backward(int micro_batch, const at::Tensor& gradient, bool is_last) = 0;
};

}  // namespace cuboid
