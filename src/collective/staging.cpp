#include "staging.hpp"

#include <cstring>

namespace cuboid {

Staging::Image Staging::image_to_read(ConstBuffer buffer) {
  // MPI only reads through it.
  if (buffer.place == Place::kHost) return {.host = const_cast<void*>(buffer.data)};
  if (buffer.count == 0) return {};
  Image image{.block = pool_.borrow(buffer.bytes())};
  image.host = image.block.data();
  copy_in(buffer, image.host);
  return image;
}

Staging::Image Staging::image_to_write(Buffer buffer) {
  if (buffer.place == Place::kHost) return {.host = buffer.data};
  if (buffer.count == 0) return {};
  Image image{.target = buffer, .block = pool_.borrow(buffer.bytes())};
  image.host = image.block.data();
  return image;
}

Staging::Image Staging::image_to_update(Buffer buffer) {
  Image image = image_to_read(buffer);
  if (image.block.data() != nullptr) image.target = buffer;
  return image;
}

void Staging::copy_in(ConstBuffer buffer, void* host) {
  if (buffer.count == 0 || buffer.data == host) return;
  if (buffer.place == Place::kHost) {
    std::memcpy(host, buffer.data, buffer.bytes());
    return;
  }
  check_cuda(cudaMemcpyAsync(host, buffer.data, buffer.bytes(), cudaMemcpyDeviceToHost, stream_));
  copying_ = true;
}

void Staging::sync() {
  if (copying_) check_cuda(cudaStreamSynchronize(stream_));
  copying_ = false;
}

void Staging::finish(Image& image) {
  if (image.target.data == nullptr) return;
  check_cuda(cudaMemcpyAsync(image.target.data, image.host, image.target.bytes(),
                             cudaMemcpyHostToDevice, stream_));
  image.block.fence(stream_);
}

}  // namespace cuboid
