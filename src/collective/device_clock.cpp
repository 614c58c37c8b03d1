#include "cuboid/collective/device_clock.hpp"

#include <cmath>
#include <deque>
#include <utility>
#include <vector>

#include "cuboid/base/error.hpp"
#include "cuboid/collective/cuda.hpp"

namespace cuboid {
namespace {

class DeviceClock final : public StepClock {
 public:
  explicit DeviceClock(cudaStream_t stream) : stream_(stream) { align(); }

  std::int64_t mark() override {
    if (free_.empty()) free_.push_back(make_event());
    recorded_.push_back(std::move(free_.back()));
    free_.pop_back();
    check_cuda(cudaEventRecord(recorded_.back().get(), stream_));
    return 0;  // known by their order
  }

  // CUDA measures between two events, in float: from the step's first mark, and that one from the
  // last step's, no distance gets long.
  void resolve(std::vector<std::int64_t>& marks) override {
    if (marks.empty()) return;
    require(recorded_.size() >= marks.size(), "marks are resolved once");
    check_cuda(cudaEventSynchronize(recorded_[marks.size() - 1].get()));
    anchor_ns_ += ns_between(anchor_, recorded_.front());
    free_.push_back(std::exchange(anchor_, std::move(recorded_.front())));
    recorded_.pop_front();
    marks.front() = anchor_ns_;
    for (std::size_t i = 1; i < marks.size(); ++i) {
      marks[i] = anchor_ns_ + ns_between(anchor_, recorded_.front());
      free_.push_back(std::move(recorded_.front()));
      recorded_.pop_front();
    }
  }

  void align() override {
    anchor_ = make_event();
    check_cuda(cudaStreamSynchronize(stream_));
    check_cuda(cudaEventRecord(anchor_.get(), stream_));
    check_cuda(cudaEventSynchronize(anchor_.get()));
    anchor_ns_ = steady_ns();
  }

  [[nodiscard]] bool lags() const override { return true; }

 private:
  static CudaEvent make_event() {
    CudaEvent event;
    check_cuda(cudaEventCreate(event.out()));
    return event;
  }
  static std::int64_t ns_between(const CudaEvent& from, const CudaEvent& to) {
    float ms = 0.0F;
    check_cuda(cudaEventElapsedTime(&ms, from.get(), to.get()));
    return std::llround(static_cast<double>(ms) * 1e6);
  }

  cudaStream_t stream_;
  CudaEvent anchor_;
  std::int64_t anchor_ns_ = 0;
  std::deque<CudaEvent> recorded_;
  std::vector<CudaEvent> free_;
};

}  // namespace

std::unique_ptr<StepClock> make_device_clock(cudaStream_t stream) {
  return std::make_unique<DeviceClock>(stream);
}

}  // namespace cuboid
