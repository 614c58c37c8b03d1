// A communicator whose results are wrong, for tests of those who check results.
#pragma once

#include <cstddef>
#include <functional>
#include <utility>

#include "cuboid/collective/communicator.hpp"

namespace cuboid::test {

// Passes everything on to another communicator, then changes what this rank has received.
class Falsifier final : public Communicator {
 public:
  using Change = std::function<void(std::byte* data, std::size_t bytes)>;
  Falsifier(Communicator& real, Change change)
      : Communicator(real.rank(), real.size(), "false"), real_(real), change_(std::move(change)) {}

  PendingWork start_all_reduce(Buffer inout, ReduceOp op) override {
    return after(real_.start_all_reduce(inout, op), inout);
  }
  PendingWork start_all_gather(ConstBuffer send, Buffer receive,
                               std::span<const std::int64_t> counts) override {
    return after(real_.start_all_gather(send, receive, counts), receive);
  }
  PendingWork start_reduce_scatter(ConstBuffer send, Buffer receive, ReduceOp op,
                                   std::span<const std::int64_t> counts) override {
    return after(real_.start_reduce_scatter(send, receive, op, counts), receive);
  }
  PendingWork start_broadcast(Buffer inout, int root) override {
    return after(real_.start_broadcast(inout, root), inout);
  }
  PendingWork start_exchange(std::span<const Transfer> transfers) override {
    Buffer received;
    for (const Transfer& one : transfers)
      if (one.kind == Transfer::Kind::kReceive) received = one.buffer;
    return after(real_.start_exchange(transfers), received);
  }
  void barrier() override { real_.barrier(); }

 private:
  PendingWork after(PendingWork work, Buffer received) {
    work->wait();
    change_(static_cast<std::byte*>(received.data), received.bytes());
    return work;
  }
  Communicator& real_;
  Change change_;
};

}  // namespace cuboid::test
