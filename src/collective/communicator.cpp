#include "cuboid/collective/communicator.hpp"

#include <cstring>
#include <new>
#include <utility>

namespace cuboid {
namespace {

constexpr std::align_val_t kLine{64};

Transfer sending(ConstBuffer buffer, int peer) {
  // Only read: one type of buffer serves both directions of an exchange.
  const Buffer writable = {const_cast<void*>(buffer.data), buffer.count, buffer.dtype,
                           buffer.place};
  return {Transfer::Kind::kSend, writable, peer};
}

}  // namespace

void Communicator::Free::operator()(std::byte* memory) const noexcept {
  ::operator delete(memory, kLine);
}

std::byte* Communicator::allocate(std::size_t bytes) {
  memories_.emplace_back(static_cast<std::byte*>(::operator new(bytes, kLine)));
  std::memset(memories_.back().get(), 0, bytes);
  return memories_.back().get();
}

bool Communicator::shares(const Buffer& /*buffer*/) const {
  return false;
}

std::byte* Communicator::workspace(std::size_t bytes) {
  Workspace& next = workspaces_.front();
  if (next.bytes < bytes) next = {allocate(bytes), bytes};
  std::byte* data = next.data;
  std::swap(workspaces_.front(), workspaces_.back());
  return data;
}

void Communicator::all_reduce(Buffer inout, ReduceOp op) {
  run_all_reduce(inout, op);
}

void Communicator::all_gather(ConstBuffer send, Buffer receive,
                              std::span<const std::int64_t> counts) {
  start_all_gather(send, receive, counts)->wait();
}

void Communicator::reduce_scatter(ConstBuffer send, Buffer receive, ReduceOp op,
                                  std::span<const std::int64_t> counts) {
  run_reduce_scatter(send, receive, op, counts);
}

void Communicator::broadcast(Buffer inout, int root) {
  start_broadcast(inout, root)->wait();
}

void Communicator::send(ConstBuffer buffer, int peer) {
  start_send(buffer, peer)->wait();
}

void Communicator::receive(Buffer buffer, int peer) {
  start_receive(buffer, peer)->wait();
}

PendingWork Communicator::start_send(ConstBuffer buffer, int peer) {
  const Transfer transfer = sending(buffer, peer);
  return start_exchange({&transfer, 1});
}

PendingWork Communicator::start_receive(Buffer buffer, int peer) {
  const Transfer transfer = {Transfer::Kind::kReceive, buffer, peer};
  return start_exchange({&transfer, 1});
}

void Communicator::run_all_reduce(Buffer inout, ReduceOp op) {
  start_all_reduce(inout, op)->wait();
}

void Communicator::run_reduce_scatter(ConstBuffer send, Buffer receive, ReduceOp op,
                                      std::span<const std::int64_t> counts) {
  start_reduce_scatter(send, receive, op, counts)->wait();
}

}  // namespace cuboid
