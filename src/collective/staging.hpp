// Buffers in device memory as MPI sees them: through pinned host memory.
#pragma once

#include "cuboid/base/buffer.hpp"
#include "memory_pool.hpp"

namespace cuboid {

// Copies are ordered after what the compute stream holds when they start, and before what is put
// there later.
class Staging {
 public:
  // The host memory that stands for a buffer during one operation: the buffer itself, where that is
  // in host memory.
  struct Image {
    void* host = nullptr;
    Buffer target = {};  // device memory to copy to when the operation has finished; null: none
    MemoryPool::Block block = {};
  };

  explicit Staging(cudaStream_t compute_stream)
      : stream_(compute_stream), pool_(MemoryPool::Kind::kPinned) {}

  // For reading: starts the copy in. sync() before using it.
  [[nodiscard]] Image image_to_read(ConstBuffer buffer);
  // For writing: its contents are undefined until the operation has filled it.
  [[nodiscard]] Image image_to_write(Buffer buffer);
  [[nodiscard]] Image image_to_update(Buffer buffer);
  // Fills `host` with the elements of `buffer`; device memory: starts to.
  void copy_in(ConstBuffer buffer, void* host);
  // Waits (the host does) until the copies in are complete.
  void sync();
  // Starts the copy out, after the operation: the compute stream is behind it, the host goes on.
  void finish(Image& image);

  [[nodiscard]] cudaStream_t stream() const { return stream_; }

 private:
  cudaStream_t stream_;
  MemoryPool pool_;
  bool copying_ = false;
};

}  // namespace cuboid
