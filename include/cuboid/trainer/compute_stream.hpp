// The stream that a rank computes on.
#pragma once

#include <c10/core/Device.h>
#include <cuda_runtime_api.h>

namespace cuboid {

// On a GPU makes a new stream LibTorch's current one on this thread, which the project's kernels
// follow, and returns it: a CUDA graph can be captured there, as it cannot be on the default
// stream, and other threads' copies run beside it. Null on a CPU. use_cuda_device() comes before;
// communicators and clocks are to be told of the stream. Other threads keep the default stream,
// which does not wait for this one.
cudaStream_t use_own_stream(c10::Device device);

// Waits until what this thread's stream holds on the device is done; at once on a CPU.
void wait_for_stream(c10::Device device);

}  // namespace cuboid
