// Spans of a detailed step as NVTX ranges, for Nsight Systems. Without a profiler a range costs a
// comparison.
#pragma once

#include <memory>

#include "cuboid/base/step_recorder.hpp"

namespace cuboid {

// Names are label_text()'s.
std::unique_ptr<SpanObserver> make_nvtx_ranges();

}  // namespace cuboid
