#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "activation_launch.hpp"
#include "on_device.hpp"

namespace cuboid::detail {
namespace {

at::Tensor empty_partial(const at::Tensor& x, std::int64_t rows, std::int64_t width) {
  return at::empty({num_chunks(rows), width}, x.options().dtype(at::kFloat));
}

void deliver_sums(const at::Tensor& partial, const GradientTarget& target) {
  require(target.gradient.scalar_type() == at::kFloat, "sums of fp32 and bf16 are fp32");
  const PartialSums sums[3] = {
      {pointer<float>(partial), pointer<float>(target.gradient), target.accumulate}, {}, {}};
  launch_add_partials(sums, partial.size(0), partial.size(1), stream_of(partial));
}

}  // namespace

at::Tensor bias_gelu_on_device(const at::Tensor& inner, const at::Tensor& bias) {
  if (!has_kernels(inner)) return bias_gelu_composed(inner, bias);
  require(!bias.defined() || bias.numel() == inner.size(1),
          "a bias has an element for each column");
  at::Tensor activated = at::empty_like(inner);
  launch_bias_gelu({.type = kernel_type(inner),
                    .rows = inner.size(0),
                    .width = inner.size(1),
                    .inner = pointer(inner),
                    .bias = pointer(bias),
                    .activated = pointer(activated)},
                   stream_of(inner));
  return activated;
}

at::Tensor gelu_backward_on_device(const at::Tensor& d_activated, const at::Tensor& inner,
                                   const GradientTarget& bias) {
  if (!has_kernels(inner)) return gelu_backward_composed(d_activated, inner, bias);
  require(d_activated.sizes() == inner.sizes() && d_activated.dtype() == inner.dtype(),
          "a gradient has its tensor's shape and type");
  const std::int64_t rows = inner.size(0);
  const std::int64_t width = inner.size(1);
  at::Tensor partial;
  if (bias.gradient.defined()) {
    require(bias.gradient.numel() == width, "a target takes every column");
    partial = empty_partial(inner, rows, width);
  }
  launch_gelu_backward({.type = kernel_type(inner),
                        .rows = rows,
                        .width = width,
                        .gradient = pointer(d_activated),
                        .inner = pointer(inner),
                        .partial = pointer<float>(partial)},
                       stream_of(inner));
  if (partial.defined()) deliver_sums(partial, bias);
  return d_activated;
}

at::Tensor swiglu_on_device(const at::Tensor& inner) {
  if (!has_kernels(inner)) return swiglu_composed(inner);
  const std::int64_t width = inner.size(1) / 2;
  at::Tensor activated = at::empty({inner.size(0), width}, inner.options());
  launch_swiglu({.type = kernel_type(inner),
                 .rows = inner.size(0),
                 .width = width,
                 .inner = pointer(inner),
                 .activated = pointer(activated),
                 .d_activated = nullptr,
                 .d_inner = nullptr},
                stream_of(inner));
  return activated;
}

at::Tensor swiglu_backward_on_device(const at::Tensor& d_activated, const at::Tensor& inner) {
  if (!has_kernels(inner)) return swiglu_backward_composed(d_activated, inner);
  const std::int64_t width = inner.size(1) / 2;
  require(d_activated.size(0) == inner.size(0) && d_activated.size(1) == width &&
              d_activated.dtype() == inner.dtype(),
          "a gradient has its tensor's shape and type");
  at::Tensor d_inner = at::empty_like(inner);
  launch_swiglu_backward({.type = kernel_type(inner),
                          .rows = inner.size(0),
                          .width = width,
                          .inner = pointer(inner),
                          .activated = nullptr,
                          .d_activated = pointer(d_activated),
                          .d_inner = pointer(d_inner)},
                         stream_of(inner));
  return d_inner;
}

void add_column_sums_on_device(const at::Tensor& x, const GradientTarget& target) {
  if (!has_kernels(x)) return add_column_sums_composed(x, target);
  require(target.gradient.numel() == x.size(1), "a target takes every column");
  const at::Tensor partial = empty_partial(x, x.size(0), x.size(1));
  launch_column_sums(kernel_type(x), pointer(x), x.size(0), x.size(1), pointer<float>(partial),
                     stream_of(x));
  deliver_sums(partial, target);
}

bool rotate_on_device_(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                       bool forwards) {
  if (!has_kernels(x)) return false;
  launch_rotate({.type = kernel_type(x),
                 .sequences = x.size(0),
                 .seq_length = x.size(1),
                 .heads = x.size(2),
                 .half = x.size(3) / 2,
                 .sequence_stride = x.stride(0),
                 .position_stride = x.stride(1),
                 .head_stride = x.stride(2),
                 .x = x.mutable_data_ptr(),
                 .cosines = pointer<float>(cos),
                 .sines = pointer<float>(sin),
                 .forwards = forwards},
                stream_of(x));
  return true;
}

}  // namespace cuboid::detail
