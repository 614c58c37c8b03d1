#include "cuboid/collective/nvtx_ranges.hpp"

#include <nvtx3/nvToolsExt.h>

namespace cuboid {
namespace {

class NvtxRanges final : public SpanObserver {
 public:
  void opened(const SpanLabel& label) override { nvtxRangePushA(label_text(label).c_str()); }
  void closed() override { nvtxRangePop(); }
};

}  // namespace

std::unique_ptr<SpanObserver> make_nvtx_ranges() {
  return std::make_unique<NvtxRanges>();
}

}  // namespace cuboid
