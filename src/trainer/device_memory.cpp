#include "cuboid/trainer/device_memory.hpp"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>

namespace cuboid {

double peak_device_bytes() {
  c10::cuda::CUDACachingAllocator::CUDAAllocator* const allocator =
      c10::cuda::CUDACachingAllocator::get();
  if (allocator == nullptr || !allocator->initialized()) return 0.0;
  constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return static_cast<double>(
      allocator->getDeviceStats(c10::cuda::current_device()).allocated_bytes[kAll].peak);
}

}  // namespace cuboid
