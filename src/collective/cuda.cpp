#include "cuboid/collective/cuda.hpp"

#include <cstring>

#include "cuboid/base/error.hpp"

namespace cuboid {

void check_cuda(cudaError_t code, std::source_location where) {
  if (code == cudaSuccess) return;
  throw SystemError(
      std::string("CUDA: ") + cudaGetErrorString(code) + " (" + cudaGetErrorName(code) + ")",
      where);
}

// A failure to release has nobody to go to, and the next call of CUDA reports what caused it.
void CudaStreamTraits::release(Type stream) noexcept {
  cudaStreamDestroy(stream);
}
void CudaEventTraits::release(Type event) noexcept {
  cudaEventDestroy(event);
}

CudaStream make_cuda_stream() {
  CudaStream stream;
  check_cuda(cudaStreamCreateWithFlags(stream.out(), cudaStreamNonBlocking));
  return stream;
}

CudaEvent make_cuda_event() {
  CudaEvent event;
  check_cuda(cudaEventCreateWithFlags(event.out(), cudaEventDisableTiming));
  return event;
}

bool is_complete(const CudaEvent& event) {
  const cudaError_t code = cudaEventQuery(event.get());
  if (code == cudaErrorNotReady) return false;
  check_cuda(code);
  return true;
}

bool is_capturing(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(stream, &status));
  return status != cudaStreamCaptureStatusNone;
}

void copy_elements(ConstBuffer from, Buffer to, cudaStream_t stream) {
  require(from.count == to.count && from.dtype == to.dtype && from.place == to.place,
          "a copy has equal ends");
  if (from.count == 0 || from.data == to.data) return;
  if (from.place == Place::kHost) {
    std::memmove(to.data, from.data, from.bytes());
  } else {
    check_cuda(cudaMemcpyAsync(to.data, from.data, from.bytes(), cudaMemcpyDeviceToDevice, stream));
  }
}

}  // namespace cuboid
