// ranks: 1
// timeout: 300
// The CUDA kernels on a GPU.
#include <c10/cuda/CUDAStream.h>

#include "cuboid/launch/device.hpp"
#include "device_cases.hpp"

namespace cuboid::test {

at::Device kernel_device() {
  return {at::kCUDA, 0};
}
void* kernel_stream() {
  return c10::cuda::getCurrentCUDAStream(0).stream();
}
bool Kernels::is_available() {
  static const bool available = [] {
    if (cuda_device_count() == 0) return false;
    use_cuda_device(0);
    return true;
  }();
  return available;
}

}  // namespace cuboid::test
