// The time line of a CUDA stream as a StepClock: a mark is an event on it, so a span takes as long
// as the device takes over what the span gave it, and a wait for a collective as long as the stream
// waited.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "cuboid/base/step_clock.hpp"

namespace cuboid {

// Of the current device; null is the legacy default stream. Resolution: half a microsecond. Throws
// SystemError, as do its members.
std::unique_ptr<StepClock> make_device_clock(cudaStream_t stream);

}  // namespace cuboid
