#include "cuboid/collective/watched_communicator.hpp"

#include <utility>

namespace cuboid {
namespace {

class WatchedWork final : public Work {
 public:
  WatchedWork(PendingWork inner, Channel& channel, const Operation& operation)
      : inner_(std::move(inner)), channel_(channel), operation_(operation) {}
  // It waits where nobody has.
  ~WatchedWork() override {
    const Waiting waiting(&channel_, operation_);
    inner_.reset();
  }
  void wait() override {
    const Waiting waiting(&channel_, operation_);
    inner_->wait();
  }
  bool poll() override { return inner_->poll(); }

 private:
  PendingWork inner_;
  Channel& channel_;
  Operation operation_;
};

std::int64_t bytes_of(ConstBuffer buffer) {
  return static_cast<std::int64_t>(buffer.bytes());
}

class WatchedCommunicator final : public Communicator {
 public:
  WatchedCommunicator(std::unique_ptr<Communicator> inner, Channel& channel)
      : Communicator(inner->rank(), inner->size(), inner->name()),
        inner_(std::move(inner)),
        channel_(channel) {
    channel_.attach(inner_.get());
  }
  ~WatchedCommunicator() override {
    channel_.attach(nullptr);
    // With NCCL all ranks take part in the end.
    const Waiting waiting(&channel_, channel_.start("tear-down", 0));
    inner_.reset();
  }

  PendingWork start_all_reduce(Buffer inout, ReduceOp op) override {
    return start(channel_.start("all_reduce", bytes_of(inout)),
                 [&] { return inner_->start_all_reduce(inout, op); });
  }
  PendingWork start_all_gather(ConstBuffer send, Buffer receive,
                               std::span<const std::int64_t> counts) override {
    return start(channel_.start("all_gather", bytes_of(receive)),
                 [&] { return inner_->start_all_gather(send, receive, counts); });
  }
  PendingWork start_reduce_scatter(ConstBuffer send, Buffer receive, ReduceOp op,
                                   std::span<const std::int64_t> counts) override {
    return start(channel_.start("reduce_scatter", bytes_of(send)),
                 [&] { return inner_->start_reduce_scatter(send, receive, op, counts); });
  }
  PendingWork start_broadcast(Buffer inout, int root) override {
    return start(channel_.start("broadcast", bytes_of(inout)),
                 [&] { return inner_->start_broadcast(inout, root); });
  }
  PendingWork start_exchange(std::span<const Transfer> transfers) override {
    return start(exchange(transfers), [&] { return inner_->start_exchange(transfers); });
  }
  std::byte* allocate(std::size_t bytes) override {
    const Waiting waiting(&channel_, channel_.start("allocate", static_cast<std::int64_t>(bytes)));
    return inner_->allocate(bytes);
  }
  bool shares(const Buffer& buffer) const override { return inner_->shares(buffer); }
  std::string why_not_shared() const override { return inner_->why_not_shared(); }
  void barrier() override {
    const Waiting waiting(&channel_, channel_.start("barrier", 0));
    inner_->barrier();
  }

 private:
  void run_all_reduce(Buffer inout, ReduceOp op) override {
    run(channel_.start("all_reduce", bytes_of(inout)), [&] { inner_->all_reduce(inout, op); });
  }
  void run_reduce_scatter(ConstBuffer send, Buffer receive, ReduceOp op,
                          std::span<const std::int64_t> counts) override {
    run(channel_.start("reduce_scatter", bytes_of(send)),
        [&] { inner_->reduce_scatter(send, receive, op, counts); });
  }

  Operation exchange(std::span<const Transfer> transfers) {
    if (transfers.size() != 1) return channel_.start("exchange", 0, -1, /*is_message=*/true);
    const Transfer& one = transfers.front();
    return channel_.start(one.kind == Transfer::Kind::kSend ? "send" : "receive",
                          bytes_of(one.buffer), one.peer, /*is_message=*/true);
  }

  template <typename Run>
  void run(const Operation& operation, Run run) {
    const std::uint64_t before = inner_->num_given();
    {
      const Waiting waiting(&channel_, operation);
      run();
    }
    note_device(operation, before);
  }
  // Starting may wait as well: the first operation over NCCL connects the ranks.
  template <typename Start>
  PendingWork start(const Operation& operation, Start start) {
    PendingWork work;
    run(operation, [&] { work = start(); });
    return std::make_unique<WatchedWork>(std::move(work), channel_, operation);
  }
  void note_device(const Operation& operation, std::uint64_t before) {
    const std::uint64_t now = inner_->num_given();
    if (now != before) channel_.given(operation, now);
  }

  std::unique_ptr<Communicator> inner_;
  Channel& channel_;
};

}  // namespace

std::unique_ptr<Communicator> make_watched_communicator(std::unique_ptr<Communicator> inner,
                                                        Channel* channel) {
  if (channel == nullptr || inner->size() == 1) return inner;
  return std::make_unique<WatchedCommunicator>(std::move(inner), *channel);
}

}  // namespace cuboid
