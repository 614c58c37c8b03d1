// A communicator whose operations a watchdog sees: which one this rank has come to, and which it
// waits in.
#pragma once

#include <memory>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/collective/progress_board.hpp"

namespace cuboid {

// Does what `inner` does. The channel must outlive it. Of one rank, or without a channel: `inner`
// itself.
std::unique_ptr<Communicator> make_watched_communicator(std::unique_ptr<Communicator> inner,
                                                        Channel* channel);

}  // namespace cuboid
