#include "cuboid/trainer/compute_stream.hpp"

#include <c10/cuda/CUDAStream.h>

namespace cuboid {

cudaStream_t use_own_stream(c10::Device device) {
  if (!device.is_cuda()) return nullptr;
  const auto stream = c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index());
  c10::cuda::setCurrentCUDAStream(stream);
  return stream.stream();
}

void wait_for_stream(c10::Device device) {
  if (device.is_cuda()) c10::cuda::getCurrentCUDAStream(device.index()).synchronize();
}

}  // namespace cuboid
