// The verbs of communication, for MPI and NCCL alike. A communicator of one rank does nothing (and
// copies where input and output differ), so no caller asks for the size first.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cuboid/base/buffer.hpp"

namespace cuboid {

enum class ReduceOp : unsigned char { kSum, kMax, kMin };

// An operation under way. The buffers must stay alive and untouched until wait() has returned, the
// communicator until this is gone.
// wait(): host buffers are complete when it returns; for device buffers the compute stream waits,
// not the host. poll(): makes progress, true once complete; wait() may follow and returns at once.
// The destructor waits, and what then fails is thrown by the communicator's next operation. While
// an exception unwinds the stack it gives the operation up instead: a peer may never answer, and
// the program is about to end.
class Work {
 public:
  Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  virtual ~Work() = default;
  virtual void wait() = 0;
  virtual bool poll() = 0;
};
using PendingWork = std::unique_ptr<Work>;

// One message of a grouped exchange.
struct Transfer {
  enum class Kind : unsigned char { kSend, kReceive };
  Kind kind;
  Buffer buffer;  // only read when sending
  int peer;
};

// How far a device has come with the operations that it was given, counted from 1 in their order.
struct DeviceProgress {
  std::uint64_t num_reached = 0;  // it works on this one, or is through with it
  std::uint64_t num_complete = 0;
  std::string error;  // what its communication has met on its own, or ""
};

// Every member is collective over the communicator unless it says otherwise; counts, dtypes and
// operations must match on all ranks, and the buffers of one operation lie in one place. dtypes:
// fp32, fp64, bf16, int64 (uint8 where nothing is reduced). bf16 sums are accumulated in fp32 and
// rounded once per step of the reduction. Every rank receives the same bits (of a NaN, not the
// payload). The blocking and the asynchronous form may add in another order than each other.
// Input and output may be the same memory where the input is the part of the output that this rank
// contributes (all_gather), or the output the part of the input that it receives (reduce_scatter).
// Throws SystemError naming rank, communicator and operation; std::logic_error when the arguments
// contradict each other. One thread at a time.
class Communicator {
 public:
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual ~Communicator() = default;

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }
  // "tp", "dp", ...: for messages and traces.
  [[nodiscard]] const std::string& name() const { return name_; }

  // allocate()d memory for one result that is reduced and used up at once: what was returned
  // before the last call is given out again. Collective, the same size on all ranks.
  [[nodiscard]] std::byte* workspace(std::size_t bytes);

  // Asynchronous forms. Operations of one communicator must be started in the same order on all
  // ranks.
  [[nodiscard]] virtual PendingWork start_all_reduce(Buffer inout, ReduceOp op) = 0;
  // Rank r contributes counts[r] elements; `receive` holds their concatenation in rank order.
  // Without counts every rank contributes send.count elements.
  [[nodiscard]] virtual PendingWork start_all_gather(ConstBuffer send, Buffer receive,
                                                     std::span<const std::int64_t> counts) = 0;
  // `send` holds size() consecutive parts; rank r receives the reduced part r of counts[r]
  // elements. Without counts every part has receive.count elements.
  [[nodiscard]] virtual PendingWork start_reduce_scatter(ConstBuffer send, Buffer receive,
                                                         ReduceOp op,
                                                         std::span<const std::int64_t> counts) = 0;
  [[nodiscard]] virtual PendingWork start_broadcast(Buffer inout, int root) = 0;
  // Point to point, not collective: messages between two ranks match in the order of their start.
  // The transfers of one call proceed together (no deadlock between them).
  [[nodiscard]] virtual PendingWork start_exchange(std::span<const Transfer> transfers) = 0;
  virtual void barrier() = 0;

  // Host memory for buffers that are often all-reduced: 64-byte aligned, zero, valid as long as the
  // communicator. Between ranks of one node they share it, and sum in place what lies there at the
  // same position on all ranks. Collective, the same size on all ranks.
  [[nodiscard]] virtual std::byte* allocate(std::size_t bytes);
  // Whether ranks share the memory of this buffer.
  [[nodiscard]] virtual bool shares(const Buffer& buffer) const;
  // Why some memory of allocate() is not shared though ranks share a node, on all ranks alike: what
  // was wanted and what there was. "": it is, or they do not.
  [[nodiscard]] virtual std::string why_not_shared() const { return {}; }

  // For a watchdog. Operations given to a device so far: none where the host communicates.
  [[nodiscard]] virtual std::uint64_t num_given() const { return 0; }
  // These two from any thread, while others use the communicator.
  [[nodiscard]] virtual DeviceProgress device_progress() { return {}; }
  // Ends what is under way on a device, which may wait for ranks that never come. Nothing else may
  // be asked of the communicator afterwards: the process is about to end.
  virtual void abort() noexcept {}

  // Blocking forms.
  void all_reduce(Buffer inout, ReduceOp op = ReduceOp::kSum);
  void all_gather(ConstBuffer send, Buffer receive, std::span<const std::int64_t> counts = {});
  void reduce_scatter(ConstBuffer send, Buffer receive, ReduceOp op = ReduceOp::kSum,
                      std::span<const std::int64_t> counts = {});
  void broadcast(Buffer inout, int root);
  void send(ConstBuffer buffer, int peer);
  void receive(Buffer buffer, int peer);
  [[nodiscard]] PendingWork start_send(ConstBuffer buffer, int peer);
  [[nodiscard]] PendingWork start_receive(Buffer buffer, int peer);

 protected:
  Communicator(int rank, int size, std::string name)
      : rank_(rank), size_(size), name_(std::move(name)) {}

  // The blocking forms: start and wait, unless a backend has something faster.
  virtual void run_all_reduce(Buffer inout, ReduceOp op);
  virtual void run_reduce_scatter(ConstBuffer send, Buffer receive, ReduceOp op,
                                  std::span<const std::int64_t> counts);

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept;
  };
  struct Workspace {
    std::byte* data = nullptr;
    std::size_t bytes = 0;
  };
  std::vector<std::unique_ptr<std::byte, Free>> memories_;
  std::array<Workspace, 2> workspaces_;  // the next to give out first
  int rank_;
  int size_;
  std::string name_;
};

}  // namespace cuboid
