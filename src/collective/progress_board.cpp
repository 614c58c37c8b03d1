#include "cuboid/collective/progress_board.hpp"

#include <dlfcn.h>

#include <utility>

#include "cuboid/collective/communicator.hpp"

namespace cuboid {
namespace {

// A preloaded library may define this function: it is called before each operation, which then
// counts as not begun. That is how the tests make a rank late (test/faults/shim).
using Tracer = void (*)(const char* communicator, const char* verb, unsigned long long number);

Tracer find_tracer() {
  return reinterpret_cast<Tracer>(dlsym(RTLD_DEFAULT, "cuboid_trace_communication"));
}

// Only one thread writes: no locked addition is needed.
std::uint64_t next(std::atomic<std::uint64_t>& count) {
  return count.load(std::memory_order_relaxed) + 1;
}

}  // namespace

Channel::Channel(std::string name, std::vector<int> members)
    : name_(std::move(name)), members_(std::move(members)) {}

Operation Channel::start(const char* verb, std::int64_t bytes, int peer, bool is_message) {
  static const Tracer kTracer = find_tracer();
  std::atomic<std::uint64_t>& count = is_message ? num_messages_ : num_collectives_;
  const std::uint64_t number = next(count);
  if (kTracer != nullptr) kTracer(name_.c_str(), verb, number);
  count.store(number, std::memory_order_release);
  return {.verb = verb, .bytes = bytes, .peer = peer, .is_message = is_message, .number = number};
}

void Channel::enter(const Operation& operation) noexcept {
  verb_.store(operation.verb, std::memory_order_release);
  bytes_.store(operation.bytes, std::memory_order_release);
  peer_.store(operation.peer, std::memory_order_release);
  is_message_.store(operation.is_message, std::memory_order_release);
  number_.store(operation.number, std::memory_order_release);
  turn_.store(next(turn_), std::memory_order_release);
}

void Channel::leave() noexcept {
  turn_.store(next(turn_), std::memory_order_release);
}

void Channel::given(const Operation& operation, std::uint64_t ordinal) {
  const std::scoped_lock lock(mutex_);
  given_.push_back({operation, ordinal});
  has_device_ = true;
}

Channel::Seen Channel::see(bool is_device_silent) {
  Seen seen;
  const std::uint64_t turn = turn_.load(std::memory_order_acquire);
  const Operation operation{.verb = verb_.load(std::memory_order_acquire),
                            .bytes = bytes_.load(std::memory_order_acquire),
                            .peer = peer_.load(std::memory_order_acquire),
                            .is_message = is_message_.load(std::memory_order_acquire),
                            .number = number_.load(std::memory_order_acquire)};
  const bool is_same_turn = turn_.load(std::memory_order_acquire) == turn;
  if (turn % 2 == 1 && is_same_turn) seen.wait = {operation, turn};
  see_device(seen, is_device_silent);
  seen.num_collectives = num_collectives_.load(std::memory_order_acquire);
  seen.num_messages = num_messages_.load(std::memory_order_acquire);
  return seen;
}

// An operation that the device has come to and not completed is a wait of the device. Its numbers
// are even, the host's odd. A device that says nothing any more may wait in the next one.
void Channel::see_device(Seen& seen, bool is_device_silent) {
  const std::scoped_lock lock(mutex_);
  seen.error = error_;
  if (seen.wait || given_.empty()) return;
  if (given_.front().ordinal > num_reached_ && !is_device_silent) return;
  seen.wait = {given_.front().operation, 2 * given_.front().ordinal};
}

void Channel::ask_device() {
  const std::shared_lock life(life_);
  if (communicator_ == nullptr) return;
  DeviceProgress progress = communicator_->device_progress();
  const std::scoped_lock lock(mutex_);
  num_reached_ = progress.num_reached;
  num_complete_ = progress.num_complete;
  error_ = std::move(progress.error);
  while (!given_.empty() && given_.front().ordinal <= num_complete_) given_.pop_front();
}

void Channel::attach(Communicator* communicator) {
  const std::scoped_lock both(life_, mutex_);
  communicator_ = communicator;
  given_.clear();
  num_reached_ = num_complete_ = 0;
  error_.clear();
}

void Channel::abort() noexcept {
  const std::shared_lock life(life_);
  if (communicator_ != nullptr) communicator_->abort();
}

Channel& ProgressBoard::add(std::string name, std::vector<int> members) {
  const std::scoped_lock lock(mutex_);
  return channels_.emplace_back(std::move(name), std::move(members));
}

std::vector<Channel*> ProgressBoard::channels() {
  const std::scoped_lock lock(mutex_);
  std::vector<Channel*> all;
  for (Channel& channel : channels_) all.push_back(&channel);
  return all;
}

}  // namespace cuboid
