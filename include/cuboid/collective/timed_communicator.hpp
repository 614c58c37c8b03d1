// A communicator whose calls are spans of the step: what compute does not hide of communication.
#pragma once

#include <memory>

#include "cuboid/base/step_recorder.hpp"
#include "cuboid/collective/communicator.hpp"

namespace cuboid {

// Does what `inner` does; every call into it, and of the works that it starts, is a span of `part`
// named "NAME VERB". The recorder must outlive it. Of one rank: `inner` itself.
std::unique_ptr<Communicator> make_timed_communicator(std::unique_ptr<Communicator> inner,
                                                      StepRecorder& recorder, StepPart part);

}  // namespace cuboid
