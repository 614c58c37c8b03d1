// What this process has taken of its GPU's memory.
#pragma once

namespace cuboid {

// The most that LibTorch's tensors held at once, in bytes (allocated, as
// torch.cuda.max_memory_allocated() has it: without what the allocator keeps for reuse, and without
// NCCL's buffers and the kernels); 0 where this process has not used a GPU.
double peak_device_bytes();

}  // namespace cuboid
