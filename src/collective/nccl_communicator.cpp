#include "cuboid/collective/nccl_communicator.hpp"

#include <cstdio>
#include <exception>
#include <thread>
#include <utility>

#include "arguments.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/base/timer.hpp"

namespace cuboid {
namespace {

// An operation is in the stream after microseconds, a set-up takes seconds.
constexpr double kBusySeconds = 1e-3;
constexpr auto kPollInterval = std::chrono::microseconds(200);

ncclDataType_t nccl_datatype(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return ncclFloat32;
    case DType::kFloat64: return ncclFloat64;
    case DType::kBFloat16: return ncclBfloat16;
    case DType::kInt64: return ncclInt64;
    case DType::kUInt8: return ncclUint8;
  }
  return ncclNumTypes;
}

ncclRedOp_t nccl_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum: return ncclSum;
    case ReduceOp::kMax: return ncclMax;
    case ReduceOp::kMin: return ncclMin;
  }
  return ncclNumOps;
}

std::size_t length(std::int64_t count) {
  return static_cast<std::size_t>(count);
}

void require_device(ConstBuffer buffer) {
  require(buffer.place == Place::kDevice, "NCCL moves device memory");
}

}  // namespace

void NcclCommTraits::release(Type comm) noexcept {
  ncclCommAbort(comm);
}

// Complete when the event that follows it in the communicator's stream is.
class NcclCommunicator::EventWork final : public Work {
 public:
  EventWork(NcclCommunicator& owner, Label label, CudaEvent done, bool is_captured)
      : owner_(owner),
        label_(label),
        done_(std::move(done)),
        is_captured_(is_captured),
        uncaught_(std::uncaught_exceptions()) {}
  ~EventWork() override {
    if (!ordered_ && std::uncaught_exceptions() == uncaught_) order_quietly();
    // An event may be recorded anew at once: whoever waits for it has taken its present state.
    owner_.spare_events_.push_back(std::move(done_));
  }
  void wait() override {
    owner_.is_settled(label_);
    if (!ordered_) check_cuda(cudaStreamWaitEvent(owner_.options_.compute_stream, done_.get(), 0));
    ordered_ = true;
  }
  bool poll() override {
    owner_.is_settled(label_);
    // Nothing runs while a graph is captured, and its events can be asked for nothing.
    return !is_captured_ && is_complete(done_);
  }

 private:
  // The state of NCCL is looked at by the next operation. A failure (the event of a capture that
  // was given up) is not to be met by whoever asks for CUDA's last error next.
  void order_quietly() noexcept {
    if (cudaStreamWaitEvent(owner_.options_.compute_stream, done_.get(), 0) != cudaSuccess)
      cudaGetLastError();
  }

  NcclCommunicator& owner_;
  Label label_;
  CudaEvent done_;
  bool is_captured_;
  int uncaught_;
  bool ordered_ = false;
};

NcclCommunicator::NcclCommunicator(MPI_Comm comm, std::string name, const NcclOptions& options)
    : Communicator(rank_in(comm), size_of_comm(comm), std::move(name)),
      options_(options),
      uncaught_(std::uncaught_exceptions()) {
  check_mpi(MPI_Comm_dup(comm, mpi_.out()));
  check_mpi(MPI_Comm_set_errhandler(mpi_.get(), MPI_ERRORS_RETURN));
  if (size() == 1 && options.alone == NcclOptions::Alone::kShortcut) return;
  check_cuda(cudaGetDevice(&device_));
  stream_ = make_cuda_stream();
  ready_ = make_cuda_event();
  initialise({"set-up", {}});
}

void NcclCommunicator::initialise(const Label& label) {
  // Rank 0's failure travels with the id, so that nobody waits for an id that never comes.
  struct Bootstrap {
    ncclUniqueId id;
    ncclResult_t result;
  } bootstrap{};
  if (rank() == 0) bootstrap.result = ncclGetUniqueId(&bootstrap.id);
  check_mpi(MPI_Bcast(&bootstrap, sizeof(bootstrap), MPI_BYTE, 0, mpi_.get()));
  check(bootstrap.result, label);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;  // a peer that never comes is a time-out here, not a hang inside NCCL
  config.commName = name().c_str();
  check(ncclCommInitRankConfig(comm_.out(), size(), bootstrap.id, rank(), &config), label);
  settle(label);
  if (size() == 2) connect_pair();
}

// A stage starts to receive gradients long before its neighbour can send them: if connecting waited
// for that, the activations that the neighbour needs first would never be sent.
void NcclCommunicator::connect_pair() {
  struct DeviceTraits {
    using Type = void*;
    static Type null() { return nullptr; }
    static void release(Type memory) noexcept { cudaFree(memory); }
  };
  Handle<DeviceTraits> memory;
  check_cuda(cudaMalloc(memory.out(), 2));
  const Buffer both = {memory.get(), 2, DType::kUInt8, Place::kDevice};
  const Transfer greeting[] = {{Transfer::Kind::kSend, slice(both, 0, 1), 1 - rank()},
                               {Transfer::Kind::kReceive, slice(both, 1, 1), 1 - rank()}};
  start_exchange(greeting)->wait();
  check_cuda(cudaStreamSynchronize(stream_.get()));
}

NcclCommunicator::~NcclCommunicator() {
  if (!comm_) return;
  if (gate_.is_closed()) {
    static_cast<void>(comm_.detach());  // another thread has freed it
    return;
  }
  const bool orderly = !failed_ && std::uncaught_exceptions() == uncaught_;
  if (!orderly) return;  // comm_ aborts
  try {
    finalize();
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
  }
}

// Lets what is under way end on all ranks.
void NcclCommunicator::finalize() {
  const Label label{"tear-down", {}};
  check(ncclCommFinalize(comm_.get()), label);
  settle(label);
  check(ncclCommDestroy(comm_.detach()), label);
}

void NcclCommunicator::check(ncclResult_t code, const Label& label, std::source_location where) {
  if (code == ncclSuccess || code == ncclInProgress) return;
  std::string reason;
  if (!gate_.pass([&] { reason = ncclGetLastError(comm_.get()); })) wait_for_the_end();
  failed_ = true;
  throw SystemError(describe(*this, label.verb, label.buffer) +
                        ": NCCL: " + ncclGetErrorString(code) + ": " + reason,
                    where);
}

bool NcclCommunicator::is_settled(const Label& label) {
  ncclResult_t state = ncclSuccess;
  ncclResult_t asked = ncclSuccess;
  // What the watchdog has aborted is freed, and the process about to end.
  if (!gate_.pass([&] { asked = ncclCommGetAsyncError(comm_.get(), &state); })) wait_for_the_end();
  check(asked, label);
  check(state, label);
  return state == ncclSuccess;
}

void NcclCommunicator::settle(const Label& label) {
  const Timer timer;
  while (!is_settled(label)) {
    if (timer.seconds() > static_cast<double>(options_.timeout.count())) {
      failed_ = true;
      throw SystemError(describe(*this, label.verb, label.buffer) +
                        ": NCCL: not all ranks answered in " +
                        std::to_string(options_.timeout.count()) + " s");
    }
    if (timer.seconds() < kBusySeconds) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(kPollInterval);
    }
  }
}

PendingWork NcclCommunicator::enqueue(const Label& label, const std::function<void()>& calls) {
  is_settled(label);
  require_device(label.buffer);
  CudaEvent done;
  if (spare_events_.empty()) {
    done = make_cuda_event();
  } else {
    done = std::move(spare_events_.back());
    spare_events_.pop_back();
  }
  check_cuda(cudaEventRecord(ready_.get(), options_.compute_stream));
  check_cuda(cudaStreamWaitEvent(stream_.get(), ready_.get(), 0));
  const bool is_captured = is_capturing(stream_.get());
  Mark mark{};
  const bool is_marked = !is_captured && begin_mark(mark);
  check(ncclGroupStart(), label);
  calls();
  check(ncclGroupEnd(), label);
  // The calls are in the stream only when NCCL says so; an event before that would be too early.
  settle(label);
  check_cuda(cudaEventRecord(done.get(), stream_.get()));
  if (is_marked) end_mark(std::move(mark));
  return std::make_unique<EventWork>(*this, label, std::move(done), is_captured);
}

// Not while the stream is captured into a graph: its events can be asked for nothing.
bool NcclCommunicator::begin_mark(Mark& mark) {
  if (!options_.is_watched) return false;
  {
    const std::scoped_lock lock(marks_mutex_);
    if (!spare_marks_.empty()) {
      mark = std::move(spare_marks_.back());
      spare_marks_.pop_back();
    }
  }
  if (!mark.reached) mark = {0, make_cuda_event(), make_cuda_event()};
  mark.number = ++num_given_;
  check_cuda(cudaEventRecord(mark.reached.get(), stream_.get()));
  return true;
}

void NcclCommunicator::end_mark(Mark&& mark) {
  check_cuda(cudaEventRecord(mark.complete.get(), stream_.get()));
  const std::scoped_lock lock(marks_mutex_);
  marks_.push_back(std::move(mark));
}

// Another thread may be capturing into a graph: with a relaxed mode asking does not disturb it.
DeviceProgress NcclCommunicator::device_progress() {
  cudaSetDevice(device_);  // of the calling thread
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  cudaThreadExchangeStreamCaptureMode(&mode);
  const std::scoped_lock lock(marks_mutex_);
  while (!marks_.empty() && cudaEventQuery(marks_.front().complete.get()) == cudaSuccess) {
    num_complete_ = num_reached_ = marks_.front().number;
    spare_marks_.push_back(std::move(marks_.front()));
    marks_.pop_front();
  }
  if (!marks_.empty() && cudaEventQuery(marks_.front().reached.get()) == cudaSuccess)
    num_reached_ = marks_.front().number;
  cudaThreadExchangeStreamCaptureMode(&mode);
  DeviceProgress progress{.num_reached = num_reached_, .num_complete = num_complete_, .error = {}};
  ncclResult_t state = ncclSuccess;
  ncclResult_t asked = ncclSuccess;
  const bool is_asked =
      comm_ && gate_.pass([&] { asked = ncclCommGetAsyncError(comm_.get(), &state); });
  if (is_asked && asked == ncclSuccess && state != ncclSuccess && state != ncclInProgress)
    progress.error = std::string("NCCL: ") + ncclGetErrorString(state);
  return progress;
}

void NcclCommunicator::abort() noexcept {
  if (comm_ && gate_.close()) ncclCommAbort(comm_.get());
}

PendingWork NcclCommunicator::start_all_reduce(Buffer inout, ReduceOp op) {
  require(inout.dtype != DType::kUInt8, "uint8 is moved, never reduced");
  if (does_nothing(inout.count)) return finished_work();
  const Label label{"all_reduce", inout};
  return enqueue(label, [&] {
    check(ncclAllReduce(inout.data, inout.data, length(inout.count), nccl_datatype(inout.dtype),
                        nccl_op(op), comm_.get(), stream_.get()),
          label);
  });
}

PendingWork NcclCommunicator::start_all_gather(ConstBuffer send, Buffer receive,
                                               std::span<const std::int64_t> counts) {
  const Parts parts = parts_of(*this, send, receive, counts);
  if (!comm_) copy_elements(send, receive, options_.compute_stream);
  if (does_nothing(parts.total)) return finished_work();
  const Label label{"all_gather", receive};
  const ncclDataType_t type = nccl_datatype(send.dtype);
  return enqueue(label, [&] {
    if (parts.even) {
      check(ncclAllGather(send.data, receive.data, length(send.count), type, comm_.get(),
                          stream_.get()),
            label);
      return;
    }
    for (int root = 0; root < size(); ++root) {
      const auto r = static_cast<std::size_t>(root);
      if (parts.counts[r] == 0) continue;
      const Buffer part = slice(receive, parts.offsets[r], parts.counts[r]);
      check(ncclBroadcast(root == rank() ? send.data : part.data, part.data, length(part.count),
                          type, root, comm_.get(), stream_.get()),
            label);
    }
  });
}

PendingWork NcclCommunicator::start_reduce_scatter(ConstBuffer send, Buffer receive, ReduceOp op,
                                                   std::span<const std::int64_t> counts) {
  const Parts parts = parts_of(*this, receive, send, counts);
  require(send.dtype != DType::kUInt8, "uint8 is moved, never reduced");
  if (!comm_) copy_elements(send, receive, options_.compute_stream);
  if (does_nothing(parts.total)) return finished_work();
  const Label label{"reduce_scatter", send};
  const ncclDataType_t type = nccl_datatype(send.dtype);
  return enqueue(label, [&] {
    if (parts.even) {
      check(ncclReduceScatter(send.data, receive.data, length(receive.count), type, nccl_op(op),
                              comm_.get(), stream_.get()),
            label);
      return;
    }
    for (int root = 0; root < size(); ++root) {
      const auto r = static_cast<std::size_t>(root);
      if (parts.counts[r] == 0) continue;
      const ConstBuffer part = slice(send, parts.offsets[r], parts.counts[r]);
      check(ncclReduce(part.data, receive.data, length(part.count), type, nccl_op(op), root,
                       comm_.get(), stream_.get()),
            label);
    }
  });
}

PendingWork NcclCommunicator::start_broadcast(Buffer inout, int root) {
  require_rank(*this, root);
  if (does_nothing(inout.count)) return finished_work();
  const Label label{"broadcast", inout};
  return enqueue(label, [&] {
    check(ncclBroadcast(inout.data, inout.data, length(inout.count), nccl_datatype(inout.dtype),
                        root, comm_.get(), stream_.get()),
          label);
  });
}

PendingWork NcclCommunicator::start_exchange(std::span<const Transfer> transfers) {
  require_valid(*this, transfers);
  if (transfers.empty()) return finished_work();
  for (const Transfer& transfer : transfers) require_device(transfer.buffer);
  if (!comm_) {
    exchange_with_self(transfers, options_.compute_stream);
    return finished_work();
  }
  const Label label{"exchange", transfers.front().buffer};
  return enqueue(label, [&] {
    for (const Transfer& transfer : transfers) {
      const Buffer& buffer = transfer.buffer;
      if (buffer.count == 0) continue;  // on the other side as well
      const ncclDataType_t type = nccl_datatype(buffer.dtype);
      const ncclResult_t code = transfer.kind == Transfer::Kind::kSend
                                    ? ncclSend(buffer.data, length(buffer.count), type,
                                               transfer.peer, comm_.get(), stream_.get())
                                    : ncclRecv(buffer.data, length(buffer.count), type,
                                               transfer.peer, comm_.get(), stream_.get());
      check(code, label);
    }
  });
}

void NcclCommunicator::barrier() {
  if (comm_) {
    // MPI may copy to or from the device, which would wait for NCCL's kernels, and they for peers.
    check_cuda(cudaStreamSynchronize(stream_.get()));
    is_settled({"barrier", {}});
  }
  check_mpi(MPI_Barrier(mpi_.get()));
}

}  // namespace cuboid
