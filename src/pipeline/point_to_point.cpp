#include "cuboid/pipeline/point_to_point.hpp"

#include <ATen/ops/empty.h>

#include <utility>

#include "cuboid/base/error.hpp"
#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid {
namespace {

// Leaks on purpose: see Inbox::abandon.
void leak(std::deque<Message>& messages) {
  static_cast<void>(new std::deque<Message>(std::move(messages)));
  messages.clear();
}

void wait_for_oldest(std::deque<Message>& messages) {
  messages.front().work->wait();
  messages.pop_front();
}

}  // namespace

void Inbox::post(at::IntArrayRef shape, const at::TensorOptions& options) {
  require(from_.size() == 2, "a receive has a neighbour to come from");
  at::Tensor tensor = at::empty(shape, options);
  PendingWork work = from_.start_receive(buffer_of(tensor), peer_);
  posted_.push_back({std::move(tensor), std::move(work)});
}

at::Tensor Inbox::take() {
  require(!posted_.empty(), "a message is posted before it is taken");
  posted_.front().work->wait();
  at::Tensor tensor = std::move(posted_.front().tensor);
  posted_.pop_front();
  return tensor;
}

void Inbox::poll() {
  for (Message& message : posted_) message.work->poll();
}

void Inbox::abandon() {
  leak(posted_);
}

void Outbox::send(at::Tensor tensor) {
  require(to_.size() == 2, "a send has a neighbour to go to");
  PendingWork work = to_.start_send(buffer_of(tensor), peer_);
  pending_.push_back({std::move(tensor), std::move(work)});
  while (pending_.size() > max_pending_) wait_for_oldest(pending_);
}

void Outbox::poll() {
  while (!pending_.empty() && pending_.front().work->poll()) pending_.pop_front();
}

void Outbox::finish() {
  while (!pending_.empty()) wait_for_oldest(pending_);
}

void Outbox::abandon() {
  leak(pending_);
}

}  // namespace cuboid
