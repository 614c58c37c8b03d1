#include "cuboid/trainer/cuda_graph.hpp"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>

#include <atomic>
#include <cstdio>
#include <exception>

#include "cuboid/base/error.hpp"
#include "cuboid/base/handle.hpp"
#include "cuboid/collective/cuda.hpp"

namespace cuboid {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

struct CudaGraphTraits {
  using Type = cudaGraph_t;
  static Type null() { return nullptr; }
  static void release(Type graph) noexcept { cudaGraphDestroy(graph); }
};
struct CudaGraphExecTraits {
  using Type = cudaGraphExec_t;
  static Type null() { return nullptr; }
  static void release(Type graph) noexcept { cudaGraphExecDestroy(graph); }
};

// LibTorch's own graphs, of which the program makes none, count from 1.
c10::MempoolId_t next_pool() {
  static std::atomic<c10::CaptureId_t> last = c10::CaptureId_t{1} << 32;
  return {++last, 0};
}

class CudaGraph final : public GraphDevice {
 public:
  explicit CudaGraph(c10::Device device)
      : device_(device.index()), stream_(c10::cuda::getCurrentCUDAStream(device.index())) {}
  ~CudaGraph() override { discard(); }

  void begin_capture() override {
    require(!has_pool_, "one graph at a time");
    // What eager steps left in LibTorch's cache would lie there beside the graph's own memory.
    allocator::emptyCache();
    pool_ = next_pool();
    // Before the capture: from its first moment no memory may be asked for in another way.
    allocator::beginAllocateToPool(
        device_, pool_, [mine = stream_.stream()](cudaStream_t stream) { return stream == mine; });
    has_pool_ = allocates_ = true;
    // Of this thread alone: checkpoints are copied, and the watchdog looks at events, on others.
    check_cuda(cudaStreamBeginCapture(stream_.stream(), cudaStreamCaptureModeThreadLocal));
    captures_ = true;
  }

  void end_capture() override {
    Handle<CudaGraphTraits> graph;
    captures_ = false;
    check_cuda(cudaStreamEndCapture(stream_.stream(), graph.out()));
    stop_allocating();
    if (!graph) throw SystemError("CUDA: the captured graph is invalid");
    check_cuda(cudaGraphInstantiate(exec_.out(), graph.get(), 0));
  }

  void launch() override { check_cuda(cudaGraphLaunch(exec_.get(), stream_.stream())); }

  void discard() noexcept override {
    if (captures_) {
      Handle<CudaGraphTraits> graph;
      cudaStreamEndCapture(stream_.stream(), graph.out());
      captures_ = false;
    }
    if (exec_) cudaStreamSynchronize(stream_.stream());
    exec_ = {};
    try {
      stop_allocating();
      if (has_pool_) allocator::releasePool(device_, pool_);
    } catch (const std::exception& failure) {
      std::fprintf(stderr, "%s\n", failure.what());  // the memory stays with the allocator, unused
    }
    has_pool_ = false;
    // A capture that was broken off leaves its error to whoever asks next.
    cudaGetLastError();
  }

 private:
  void stop_allocating() {
    if (allocates_) allocator::endAllocateToPool(device_, pool_);
    allocates_ = false;
  }

  c10::DeviceIndex device_;
  c10::cuda::CUDAStream stream_;
  c10::MempoolId_t pool_{0, 0};
  Handle<CudaGraphExecTraits> exec_;
  bool has_pool_ = false;
  bool allocates_ = false;
  bool captures_ = false;
};

}  // namespace

std::unique_ptr<GraphDevice> make_cuda_graph(c10::Device device) {
  return std::make_unique<CudaGraph>(device);
}

bool has_own_stream(c10::Device device) {
  return c10::cuda::getCurrentCUDAStream(device.index()).stream() != nullptr;
}

}  // namespace cuboid
