// ranks: 1
// timeout: 200
// The source of the CUDA kernels on the host, under an emulator of blocks, barriers and shuffles.
#include "emulator.hpp"
//
#include "../../src/kernels/activation.cu"
#include "../../src/kernels/column_sums.cu"
#include "../../src/kernels/flat.cu"
#include "../../src/kernels/norm.cu"
#include "../../src/kernels/vocabulary.cu"
#include "device_cases.hpp"

namespace cuboid::test {

at::Device kernel_device() {
  return at::kCPU;
}
void* kernel_stream() {
  return nullptr;
}
bool Kernels::is_available() {
  return true;
}

}  // namespace cuboid::test
