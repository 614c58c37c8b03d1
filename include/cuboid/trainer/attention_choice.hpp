// Which attention kernel a run computes with: the faster one at its own shape, measured once.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <optional>
#include <string>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/config/config.hpp"

namespace cuboid {

struct AttentionChoice {
  AttentionKernel kernel = AttentionKernel::kAuto;  // kAuto on a CPU, which has one kernel
  std::string report;                               // a line for people, or ""
};

// What --attention-kernel means on a GPU. `config` is resolved; `recorded` is the option's value in
// the checkpoint to be resumed, or "": with auto its kernel goes on, where it takes this run's type
// and heads, so that the bits of what is resumed do not depend on times. Else the fastest of the
// candidates: `ms_of` is asked where there is a choice, once for each, and says none where a kernel
// does not run here. The memory-efficient kernel where none of them does.
AttentionChoice decide_attention_kernel(
    const Config& config, const std::string& recorded,
    const std::function<std::optional<double>(AttentionKernel)>& ms_of);

// The same on this device, alike on all ranks: rank 0 measures forward and backward of one layer's
// attention at the run's shape. `recorded` counts on rank 0, as does the report. Collective over
// `control`.
AttentionChoice choose_attention_kernel(const Config& config, c10::Device device,
                                        const std::string& recorded, Communicator& control);

}  // namespace cuboid
