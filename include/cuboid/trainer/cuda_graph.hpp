// A CUDA graph of what this thread's current stream is given.
#pragma once

#include <c10/core/Device.h>

#include <memory>

#include "cuboid/trainer/step_graph.hpp"

namespace cuboid {

// Of the stream that is current on this thread, which must not be the default one (see
// use_own_stream). What is allocated while it captures comes from memory that LibTorch keeps for
// the graph alone: tensors of a captured step hold their addresses, and numbers that outlive it
// are to be written to memory from before. Other threads may go on using the device.
std::unique_ptr<GraphDevice> make_cuda_graph(c10::Device device);

// Whether this thread's current stream is one that can be captured.
bool has_own_stream(c10::Device device);

}  // namespace cuboid
