// The verbs over NCCL: buffers in device memory, on a stream of the communicator's own.
#pragma once

#include <mpi.h>
#include <nccl.h>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <source_location>
#include <vector>

#include "cuboid/collective/abort_gate.hpp"
#include "cuboid/collective/communicator.hpp"
#include "cuboid/collective/cuda.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {

struct NcclCommTraits {
  using Type = ncclComm_t;
  static Type null() { return nullptr; }
  // Ends what is under way, instead of waiting for peers that may be gone.
  static void release(Type comm) noexcept;
};
using NcclComm = Handle<NcclCommTraits>;

struct NcclOptions {
  // Where buffers are computed on; null is the legacy default stream (LibTorch's default).
  cudaStream_t compute_stream = nullptr;
  // How long a set-up or a tear-down may take before it is an error.
  std::chrono::seconds timeout{300};
  // Notes how far the device has come, for device_progress().
  bool is_watched = false;
  // What a communicator of one rank does: nothing (a copy at most), or the same as others do, so
  // that one GPU is enough to try NCCL.
  enum class Alone : unsigned char { kShortcut, kThroughNccl };
  Alone alone = Alone::kShortcut;
};

// An operation starts after what the compute stream holds at its start; wait() makes the compute
// stream wait for it, never the host. The first operation between two ranks also connects them, for
// which the host waits: ranks must start operations of several communicators in one order. Only a
// communicator of two ranks (a pipeline's neighbours) is connected from the start. Errors that NCCL
// meets later are thrown by the next operation, wait() or poll(). Destroying it while an exception
// unwinds the stack, or after a failure, aborts what is under way.
// While the compute stream is captured into a graph (after a step that was not, so that all are
// connected), operations go into the graph: poll() is false then, and none counts in num_given().
// NCCL wants all ranks of an operation to capture it, and all to launch the graph or none.
class NcclCommunicator final : public Communicator {
 public:
  // Collective over `comm`, which carries NCCL's id and the barriers. The CUDA device must be set.
  // Throws SystemError when NCCL does not come up on this rank, or not in time.
  NcclCommunicator(MPI_Comm comm, std::string name, const NcclOptions& options = {});
  ~NcclCommunicator() override;

  [[nodiscard]] PendingWork start_all_reduce(Buffer inout, ReduceOp op) override;
  [[nodiscard]] PendingWork start_all_gather(ConstBuffer send, Buffer receive,
                                             std::span<const std::int64_t> counts) override;
  [[nodiscard]] PendingWork start_reduce_scatter(ConstBuffer send, Buffer receive, ReduceOp op,
                                                 std::span<const std::int64_t> counts) override;
  [[nodiscard]] PendingWork start_broadcast(Buffer inout, int root) override;
  [[nodiscard]] PendingWork start_exchange(std::span<const Transfer> transfers) override;
  // Waits (the host does) until all ranks have come here with their operations complete.
  void barrier() override;
  [[nodiscard]] std::uint64_t num_given() const override { return num_given_; }
  [[nodiscard]] DeviceProgress device_progress() override;
  void abort() noexcept override;

 private:
  class EventWork;
  friend class EventWork;
  // What an operation is called in an error message.
  struct Label {
    const char* verb;
    ConstBuffer buffer;
  };

  // The events around an operation in the stream.
  struct Mark {
    std::uint64_t number;
    CudaEvent reached;
    CudaEvent complete;
  };

  void initialise(const Label& label);
  void connect_pair();
  // Runs `calls` (of NCCL, on stream_) as one group between the compute stream's events.
  PendingWork enqueue(const Label& label, const std::function<void()>& calls);
  // Throws when `code` is an error.
  void check(ncclResult_t code, const Label& label,
             std::source_location where = std::source_location::current());
  // Throws what NCCL met since; false while NCCL's own threads still work on the last call.
  bool is_settled(const Label& label);
  void settle(const Label& label);
  [[nodiscard]] bool begin_mark(Mark& mark);
  void end_mark(Mark&& mark);
  void finalize();
  [[nodiscard]] bool does_nothing(std::int64_t count) const { return !comm_ || count == 0; }

  NcclOptions options_;
  MpiComm mpi_;
  CudaStream stream_;
  CudaEvent ready_;
  std::vector<CudaEvent> spare_events_;
  NcclComm comm_;   // null for one rank, unless asked for
  AbortGate gate_;  // to comm_, for abort()
  bool failed_ = false;
  int uncaught_;
  std::uint64_t num_given_ = 0;
  int device_ = 0;

  std::mutex marks_mutex_;  // of what follows, which the watchdog uses as well
  std::deque<Mark> marks_;  // of what is not known to be complete
  std::vector<Mark> spare_marks_;
  std::uint64_t num_reached_ = 0;
  std::uint64_t num_complete_ = 0;
};

}  // namespace cuboid
