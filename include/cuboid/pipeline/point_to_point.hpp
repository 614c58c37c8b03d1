// The ends of one direction between two neighbouring stages: an Inbox of receives posted ahead and
// an Outbox of sends that nobody waits for. Messages match in the order of their start.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <deque>

#include "cuboid/base/step_recorder.hpp"
#include "cuboid/collective/communicator.hpp"

namespace cuboid {

// A message under way, with the memory that it reads or writes. The work goes first when both end.
struct Message {
  at::Tensor tensor;
  PendingWork work;
  std::size_t flight = 0;  // in the recorder
};

class Inbox {
 public:
  Inbox(Communicator& from, int peer, StepRecorder& recorder)
      : from_(from), peer_(peer), recorder_(recorder) {}
  // Starts to receive into a new tensor of this shape. The label is the message's name in traces.
  void post(at::IntArrayRef shape, const at::TensorOptions& options, SpanLabel label);
  // Waits for the oldest posted message. On a GPU the compute stream waits, not the host.
  [[nodiscard]] at::Tensor take();
  // Lets the messages progress.
  void poll();
  // After a failure: forgets what is under way without waiting, since it may never end. Its memory
  // stays allocated, for messages may still be written to it; the job is about to be aborted.
  void abandon();

 private:
  Communicator& from_;
  int peer_;
  StepRecorder& recorder_;
  std::deque<Message> posted_;
};

class Outbox {
 public:
  // At most `max_pending` messages are under way; send() waits for the oldest beyond that.
  Outbox(Communicator& to, int peer, std::size_t max_pending, StepRecorder& recorder)
      : to_(to), peer_(peer), max_pending_(max_pending), recorder_(recorder) {}
  // Keeps the tensor until it has been sent; nobody may change it meanwhile.
  void send(at::Tensor tensor, SpanLabel label);
  void poll();
  // Waits for everything that was sent.
  void finish();
  void abandon();  // as Inbox::abandon

 private:
  void land_oldest();

  Communicator& to_;
  int peer_;
  std::size_t max_pending_;
  StepRecorder& recorder_;
  std::deque<Message> pending_;
};

}  // namespace cuboid
