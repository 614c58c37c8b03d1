// What one rank is doing on each of its communicators, as a watchdog on another thread sees it.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <list>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <vector>

namespace cuboid {

class Communicator;

// One operation. Of a collective, `number` counts the collectives that were started on its
// communicator, of a message the messages: from 1, and alike on all ranks that take part.
struct Operation {
  const char* verb = "";  // a literal: "all_reduce", "receive"
  std::int64_t bytes = 0;
  int peer = -1;  // in the communicator; -1: all of it
  bool is_message = false;
  std::uint64_t number = 0;
};

// An operation that this rank waits in: the same `wait` is the same wait.
struct WaitSeen {
  Operation operation;
  std::uint64_t wait = 0;
};

// One communicator. What is not of the watchdog is for the one thread that uses it.
class Channel {
 public:
  // `members`: ranks of the world, in the communicator's order.
  Channel(std::string name, std::vector<int> members);
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::vector<int>& members() const { return members_; }

  // The next operation, with its number.
  Operation start(const char* verb, std::int64_t bytes, int peer = -1, bool is_message = false);
  void enter(const Operation& operation) noexcept;
  void leave() noexcept;
  // The operation was handed to a device, as its `ordinal`-th.
  void given(const Operation& operation, std::uint64_t ordinal);

  // From here on: of the watchdog.
  struct Seen {
    std::uint64_t num_collectives = 0;  // started
    std::uint64_t num_messages = 0;
    std::optional<WaitSeen> wait;
    std::string error;  // of the device's communication
  };
  // Asks no device, which may take for ever. `is_device_silent`: it answers ask_device() no more.
  Seen see(bool is_device_silent = false);
  // Whether a device was ever given anything.
  [[nodiscard]] bool has_device() const noexcept { return has_device_; }
  // Has the device say how far it has come, for see(): on a thread that may be kept waiting.
  void ask_device();
  // The communicator that works for this, while it lives; whatever ends is to be told.
  void attach(Communicator* communicator);
  // Ends what the communicator has under way.
  void abort() noexcept;

 private:
  struct Given {
    Operation operation;
    std::uint64_t ordinal;
  };
  void see_device(Seen& seen, bool is_device_silent);

  std::string name_;
  std::vector<int> members_;
  std::atomic<std::uint64_t> num_collectives_ = 0;
  std::atomic<std::uint64_t> num_messages_ = 0;
  // Odd while this rank waits. The fields of the operation are written before it turns odd, and
  // read between two looks at it.
  std::atomic<std::uint64_t> turn_ = 0;
  std::atomic<const char*> verb_ = "";
  std::atomic<std::int64_t> bytes_ = 0;
  std::atomic<int> peer_ = -1;
  std::atomic<bool> is_message_ = false;
  std::atomic<std::uint64_t> number_ = 0;

  // Held by whoever calls the communicator, and alone by who changes it. Never while mutex_ is.
  std::shared_mutex life_;
  Communicator* communicator_ = nullptr;
  std::atomic<bool> has_device_ = false;

  std::mutex mutex_;  // of what follows; nobody keeps it
  std::deque<Given> given_;
  std::uint64_t num_reached_ = 0;  // by the device's last answer
  std::uint64_t num_complete_ = 0;
  std::string error_;
};

// A wait for as long as this lives; none where the channel is null.
class Waiting {
 public:
  Waiting(Channel* channel, const Operation& operation) noexcept : channel_(channel) {
    if (channel_ != nullptr) channel_->enter(operation);
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  ~Waiting() {
    if (channel_ != nullptr) channel_->leave();
  }

 private:
  Channel* channel_;
};

// The channels of a rank. They live as long as the board.
class ProgressBoard {
 public:
  Channel& add(std::string name, std::vector<int> members);
  // All of them so far, for the watchdog.
  [[nodiscard]] std::vector<Channel*> channels();

 private:
  std::mutex mutex_;
  std::list<Channel> channels_;
};

}  // namespace cuboid
