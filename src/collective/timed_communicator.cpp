#include "cuboid/collective/timed_communicator.hpp"

#include <utility>

namespace cuboid {
namespace {

class TimedWork final : public Work {
 public:
  TimedWork(PendingWork inner, StepRecorder& recorder, StepPart part, const SpanLabel& label)
      : inner_(std::move(inner)),
        recorder_(recorder),
        part_(part),
        label_(label),
        flight_(recorder.begin_flight(part, label)) {}

  void wait() override {
    const Span span(&recorder_, part_, label_);
    inner_->wait();
    land();
  }

  bool poll() override {
    const Span span(recorder_.counts_host_time() ? &recorder_ : nullptr, part_, label_);
    const bool complete = inner_->poll();
    if (complete) land();
    return complete;
  }

 private:
  void land() { recorder_.end_flight(std::exchange(flight_, 0)); }

  PendingWork inner_;
  StepRecorder& recorder_;
  StepPart part_;
  SpanLabel label_;
  std::size_t flight_;
};

class TimedCommunicator final : public Communicator {
 public:
  TimedCommunicator(std::unique_ptr<Communicator> inner, StepRecorder& recorder, StepPart part)
      : Communicator(inner->rank(), inner->size(), inner->name()),
        inner_(std::move(inner)),
        recorder_(recorder),
        part_(part) {}

  PendingWork start_all_reduce(Buffer inout, ReduceOp op) override {
    return start(label("all_reduce", inout), [&] { return inner_->start_all_reduce(inout, op); });
  }
  PendingWork start_all_gather(ConstBuffer send, Buffer receive,
                               std::span<const std::int64_t> counts) override {
    return start(label("all_gather", receive),
                 [&] { return inner_->start_all_gather(send, receive, counts); });
  }
  PendingWork start_reduce_scatter(ConstBuffer send, Buffer receive, ReduceOp op,
                                   std::span<const std::int64_t> counts) override {
    return start(label("reduce_scatter", send),
                 [&] { return inner_->start_reduce_scatter(send, receive, op, counts); });
  }
  PendingWork start_broadcast(Buffer inout, int root) override {
    return start(label("broadcast", inout), [&] { return inner_->start_broadcast(inout, root); });
  }
  PendingWork start_exchange(std::span<const Transfer> transfers) override {
    const ConstBuffer first = transfers.empty() ? ConstBuffer() : transfers.front().buffer;
    return start(label("exchange", first), [&] { return inner_->start_exchange(transfers); });
  }
  std::byte* allocate(std::size_t bytes) override { return inner_->allocate(bytes); }
  bool shares(const Buffer& buffer) const override { return inner_->shares(buffer); }
  std::string why_not_shared() const override { return inner_->why_not_shared(); }
  void barrier() override {
    const Span span(&recorder_, part_, {.what = "barrier", .communicator = name()});
    inner_->barrier();
  }

 private:
  void run_all_reduce(Buffer inout, ReduceOp op) override {
    const Span span(&recorder_, part_, label("all_reduce", inout));
    inner_->all_reduce(inout, op);
  }
  void run_reduce_scatter(ConstBuffer send, Buffer receive, ReduceOp op,
                          std::span<const std::int64_t> counts) override {
    const Span span(&recorder_, part_, label("reduce_scatter", send));
    inner_->reduce_scatter(send, receive, op, counts);
  }

  // Bytes as bandwidths count them: of all parts together.
  [[nodiscard]] SpanLabel label(std::string_view verb, ConstBuffer buffer) const {
    return {
        .what = verb, .communicator = name(), .bytes = static_cast<std::int64_t>(buffer.bytes())};
  }

  template <typename Start>
  PendingWork start(const SpanLabel& label, Start start) {
    const Span span(&recorder_, part_, label);
    return std::make_unique<TimedWork>(start(), recorder_, part_, label);
  }

  std::unique_ptr<Communicator> inner_;
  StepRecorder& recorder_;
  StepPart part_;
};

}  // namespace

std::unique_ptr<Communicator> make_timed_communicator(std::unique_ptr<Communicator> inner,
                                                      StepRecorder& recorder, StepPart part) {
  if (inner->size() == 1) return inner;
  return std::make_unique<TimedCommunicator>(std::move(inner), recorder, part);
}

}  // namespace cuboid
