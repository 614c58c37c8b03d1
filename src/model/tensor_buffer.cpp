#include "cuboid/model/tensor_buffer.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/accumulate.h>

#include "cuboid/base/error.hpp"

namespace cuboid {

DType dtype_of(at::ScalarType type) {
  switch (type) {
    case at::kFloat: return DType::kFloat32;
    case at::kDouble: return DType::kFloat64;
    case at::kBFloat16: return DType::kBFloat16;
    case at::kLong: return DType::kInt64;
    case at::kByte: return DType::kUInt8;
    default: throw std::logic_error("a tensor type that no buffer has");
  }
}

at::ScalarType scalar_type_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return at::kFloat;
    case DType::kFloat64: return at::kDouble;
    case DType::kBFloat16: return at::kBFloat16;
    case DType::kInt64: return at::kLong;
    case DType::kUInt8: return at::kByte;
  }
  throw std::logic_error("an unknown dtype");
}

Buffer buffer_of(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  require(tensor.is_contiguous(), "a buffer views a contiguous tensor");
  return {tensor.data_ptr(), tensor.numel(), dtype_of(tensor.scalar_type()),
          tensor.is_cuda() ? Place::kDevice : Place::kHost};
}

at::Tensor empty_to_reduce(Communicator& tp, at::IntArrayRef shape,
                           const at::TensorOptions& options) {
  if (tp.size() == 1 || !options.device().is_cpu()) return at::empty(shape, options);
  const auto count = static_cast<std::size_t>(c10::multiply_integers(shape));
  return at::from_blob(tp.workspace(count * options.dtype().itemsize()), shape, options);
}

}  // namespace cuboid
