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

}  // namespace

void Inbox::post(at::IntArrayRef shape, const at::TensorOptions& options, SpanLabel label) {
  require(from_.size() == 2, "a receive has a neighbour to come from");
  at::Tensor tensor = at::empty(shape, options);
  const Buffer buffer = buffer_of(tensor);
  label.bytes = static_cast<std::int64_t>(buffer.bytes());
  const std::size_t flight = recorder_.begin_flight(StepPart::kP2pWait, label);
  PendingWork work = from_.start_receive(buffer, peer_);
  posted_.push_back({std::move(tensor), std::move(work), flight});
}

at::Tensor Inbox::take() {
  require(!posted_.empty(), "a message is posted before it is taken");
  posted_.front().work->wait();
  recorder_.end_flight(posted_.front().flight);
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

void Outbox::send(at::Tensor tensor, SpanLabel label) {
  require(to_.size() == 2, "a send has a neighbour to go to");
  const Buffer buffer = buffer_of(tensor);
  label.bytes = static_cast<std::int64_t>(buffer.bytes());
  const std::size_t flight = recorder_.begin_flight(StepPart::kP2pWait, label);
  PendingWork work = to_.start_send(buffer, peer_);
  pending_.push_back({std::move(tensor), std::move(work), flight});
  while (pending_.size() > max_pending_) land_oldest();
}

// Waits for it.
void Outbox::land_oldest() {
  pending_.front().work->wait();
  recorder_.end_flight(pending_.front().flight);
  pending_.pop_front();
}

void Outbox::poll() {
  while (!pending_.empty() && pending_.front().work->poll()) land_oldest();
}

void Outbox::finish() {
  while (!pending_.empty()) land_oldest();
}

void Outbox::abandon() {
  leak(pending_);
}

}  // namespace cuboid
