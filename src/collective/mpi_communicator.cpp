#include "cuboid/collective/mpi_communicator.hpp"

#include <algorithm>
#include <exception>
#include <vector>

#include "arguments.hpp"
#include "cuboid/base/error.hpp"
#include "mpi_work.hpp"
#include "reduction.hpp"
#include "shared_reducer.hpp"

namespace cuboid {
namespace {

// Messages of exchanges and of reduce_scatter never meet.
constexpr int kExchangeTag = 0;
constexpr int kReduceScatterTag = 1;

std::vector<int> to_int(const std::vector<std::int64_t>& values) {
  return {values.begin(), values.end()};
}

// Calls action(begin, count) for consecutive pieces of at most `piece_bytes`; at least once, so
// that an empty message is a message too.
template <typename Action>
void for_pieces(std::int64_t count, DType dtype, std::int64_t piece_bytes, Action action) {
  const auto width = static_cast<std::int64_t>(size_of(dtype));
  const std::int64_t step = std::max<std::int64_t>(1, piece_bytes / width);
  for (std::int64_t begin = 0; begin == 0 || begin < count; begin += step) {
    action(begin, static_cast<int>(std::min(step, count - begin)));
  }
}

void require_reducible(DType dtype) {
  require(dtype != DType::kUInt8, "uint8 is moved, never reduced");
}

// Addresses of elements in host memory.
struct Elements {
  std::byte* data;
  std::size_t width;
  [[nodiscard]] std::byte* at(std::int64_t index) const {
    return data + static_cast<std::size_t>(index) * width;
  }
};

Elements elements(std::byte* data, DType dtype) {
  return {data, size_of(dtype)};
}

}  // namespace

// A reduce_scatter in host memory.
struct MpiCommunicator::ScatterJob {
  Parts parts;
  DType dtype;
  ReduceOp op;
  std::byte* send = nullptr;
  std::byte* receive = nullptr;
};

MpiCommunicator::MpiCommunicator(MPI_Comm comm, std::string name, const MpiOptions& options)
    : Communicator(rank_in(comm), size_of_comm(comm), std::move(name)),
      options_(options),
      state_(std::make_unique<MpiState>(*this, comm, options.compute_stream)) {}

MpiCommunicator::~MpiCommunicator() = default;

// An operation of the shared reducer, which does all the work.
class SharedWork final : public Work {
 public:
  SharedWork(MpiState& state, SharedReducer& reducer, std::uint64_t operation)
      : state_(state),
        reducer_(reducer),
        operation_(operation),
        uncaught_(std::uncaught_exceptions()) {}
  ~SharedWork() override {
    if (std::uncaught_exceptions() > uncaught_) return;
    try {
      wait();
    } catch (const std::exception& failure) {
      state_.defer(failure.what());
    }
  }
  void wait() override { reducer_.wait_for(operation_); }
  bool poll() override {
    if (reducer_.num_complete() < operation_) reducer_.progress();
    return reducer_.num_complete() >= operation_;
  }

 private:
  MpiState& state_;
  SharedReducer& reducer_;
  std::uint64_t operation_;
  int uncaught_;
};

std::byte* MpiCommunicator::allocate(std::size_t bytes) {
  if (size() == 1) return Communicator::allocate(bytes);
  try {
    if (!shared_) {
      NodeLayout layout = node_layout_of(state_->comm(), options_.ranks_per_node);
      if (layout.largest_node == 1) return Communicator::allocate(bytes);
      shared_ = std::make_unique<SharedReducer>(state_->comm(), std::move(layout), state_->ops,
                                                options_.piece_bytes);
    }
    return shared_->allocate(bytes);
  } catch (const NoSharedMemory& reason) {
    // On all ranks alike; messages serve as well.
    if (why_not_shared_.empty()) why_not_shared_ = reason.what();
    return Communicator::allocate(bytes);
  }
}

bool MpiCommunicator::shares(const Buffer& buffer) const {
  return shared_ && shared_->holds(buffer);
}

PendingWork MpiCommunicator::start_all_reduce(Buffer inout, ReduceOp op) {
  const MPI_Op mpi_op = state_->ops.get(inout.dtype, op);
  if (size() == 1 || inout.count == 0) return finished_work();
  if (shares(inout)) {
    state_->throw_deferred();
    return std::make_unique<SharedWork>(*state_, *shared_, shared_->start(inout, op));
  }
  auto work = std::make_unique<MpiWork>(*state_, "all_reduce", inout);
  const Elements host = elements(work->keep(state_->staging.image_to_update(inout)), inout.dtype);
  state_->staging.sync();
  for_pieces(inout.count, inout.dtype, options_.piece_bytes, [&](std::int64_t begin, int count) {
    work->check(MPI_Iallreduce(MPI_IN_PLACE, host.at(begin), count, mpi_datatype(inout.dtype),
                               mpi_op, state_->comm(), work->add_request()));
  });
  return work;
}

void MpiCommunicator::run_all_reduce(Buffer inout, ReduceOp op) {
  const MPI_Op mpi_op = state_->ops.get(inout.dtype, op);
  state_->throw_deferred();
  if (size() == 1 || inout.count == 0) return;
  if (shares(inout)) return shared_->wait_for(shared_->start(inout, op));
  Staging::Image image = state_->staging.image_to_update(inout);
  const Elements host = elements(static_cast<std::byte*>(image.host), inout.dtype);
  state_->staging.sync();
  for_pieces(inout.count, inout.dtype, options_.piece_bytes, [&](std::int64_t begin, int count) {
    state_->check(MPI_Allreduce(MPI_IN_PLACE, host.at(begin), count, mpi_datatype(inout.dtype),
                                mpi_op, state_->comm()),
                  "all_reduce", inout);
  });
  state_->staging.finish(image);
}

PendingWork MpiCommunicator::start_all_gather(ConstBuffer send, Buffer receive,
                                              std::span<const std::int64_t> counts) {
  const Parts parts = parts_of(*this, send, receive, counts);
  if (size() == 1) copy_elements(send, receive, options_.compute_stream);
  if (size() == 1 || parts.total == 0) return finished_work();
  auto work = std::make_unique<MpiWork>(*state_, "all_gather", receive);
  const MPI_Datatype type = mpi_datatype(send.dtype);
  const Elements host = elements(work->keep(state_->staging.image_to_write(receive)), send.dtype);
  std::byte* mine = host.at(parts.offsets[static_cast<std::size_t>(rank())]);
  state_->staging.copy_in(send, mine);
  state_->staging.sync();
  if (static_cast<std::int64_t>(receive.bytes()) > options_.max_message_bytes) {
    // Offsets in int do not reach: each rank broadcasts its part.
    for (int root = 0; root < size(); ++root) {
      const auto r = static_cast<std::size_t>(root);
      for_pieces(parts.counts[r], send.dtype, options_.max_message_bytes,
                 [&](std::int64_t begin, int count) {
                   work->check(MPI_Ibcast(host.at(parts.offsets[r] + begin), count, type, root,
                                          state_->comm(), work->add_request()));
                 });
    }
  } else if (parts.even) {
    work->check(MPI_Iallgather(MPI_IN_PLACE, 0, type, host.data, static_cast<int>(send.count), type,
                               state_->comm(), work->add_request()));
  } else {
    const int* lengths = work->keep(to_int(parts.counts));
    const int* offsets = work->keep(to_int(parts.offsets));
    work->check(MPI_Iallgatherv(MPI_IN_PLACE, 0, type, host.data, lengths, offsets, type,
                                state_->comm(), work->add_request()));
  }
  return work;
}

// Every rank sends part r of its input to rank r, which adds up what arrives in rank order. One
// phase of messages, so that it needs no progress between start and wait. `slice` selects the same
// elements of every part.
void MpiCommunicator::post_reduce_scatter(MpiWork& work, const ScatterJob& job, Range slice) {
  const auto within = [&](int r) {
    const std::int64_t count = job.parts.counts[static_cast<std::size_t>(r)];
    return Range{std::min(slice.begin, count), std::min(slice.end, count)};
  };
  const auto begin_of = [&](int r) {
    return job.parts.offsets[static_cast<std::size_t>(r)] + within(r).begin;
  };
  const Elements send = elements(job.send, job.dtype);
  const Range mine = within(rank());
  const auto others = static_cast<std::size_t>(size() - 1);
  const Elements arrived =
      elements(work.keep(state_->scratch.borrow(others * static_cast<std::size_t>(mine.size()) *
                                                send.width)),
               job.dtype);
  std::vector<const void*> sources(static_cast<std::size_t>(size()));
  sources[static_cast<std::size_t>(rank())] = send.at(begin_of(rank()));
  for (int distance = 1; distance < size(); ++distance) {
    const int peer = (rank() + distance) % size();
    std::byte* slot = arrived.at((distance - 1) * mine.size());
    sources[static_cast<std::size_t>(peer)] = slot;
    receive_pieces(work, {slot, mine.size(), job.dtype, Place::kHost}, peer, kReduceScatterTag);
  }
  for (int distance = 1; distance < size(); ++distance) {
    const int peer = (rank() + size() - distance) % size();
    send_pieces(work, {send.at(begin_of(peer)), within(peer).size(), job.dtype, Place::kHost}, peer,
                kReduceScatterTag);
  }
  std::byte* out = elements(job.receive, job.dtype).at(mine.begin);
  work.at_end([sources = std::move(sources), out, dtype = job.dtype, op = job.op, mine] {
    reduce_parts(dtype, op, sources, out, mine.size());
  });
}

PendingWork MpiCommunicator::start_reduce_scatter(ConstBuffer send, Buffer receive, ReduceOp op,
                                                  std::span<const std::int64_t> counts) {
  ScatterJob job = {.parts = parts_of(*this, receive, send, counts), .dtype = send.dtype, .op = op};
  require_reducible(send.dtype);
  if (size() == 1) copy_elements(send, receive, options_.compute_stream);
  if (size() == 1 || job.parts.total == 0) return finished_work();
  auto work = std::make_unique<MpiWork>(*state_, "reduce_scatter", send);
  job.send = work->keep(state_->staging.image_to_read(send));
  job.receive = work->keep(state_->staging.image_to_write(receive));
  state_->staging.sync();
  post_reduce_scatter(*work, job, {0, job.parts.largest()});
  return work;
}

void MpiCommunicator::run_reduce_scatter(ConstBuffer send, Buffer receive, ReduceOp op,
                                         std::span<const std::int64_t> counts) {
  ScatterJob job = {.parts = parts_of(*this, receive, send, counts), .dtype = send.dtype, .op = op};
  require_reducible(send.dtype);
  if (size() == 1) return copy_elements(send, receive, options_.compute_stream);
  const Staging::Image input = state_->staging.image_to_read(send);
  Staging::Image output = state_->staging.image_to_write(receive);
  state_->staging.sync();
  job.send = static_cast<std::byte*>(input.host);
  job.receive = static_cast<std::byte*>(output.host);
  if (job.parts.total == 0) return;
  for_pieces(job.parts.largest(), send.dtype, options_.piece_bytes,
             [&](std::int64_t begin, int count) {
               MpiWork work(*state_, "reduce_scatter", send);
               post_reduce_scatter(work, job, {begin, begin + count});
               work.wait();
             });
  state_->staging.finish(output);
}

PendingWork MpiCommunicator::start_broadcast(Buffer inout, int root) {
  require_rank(*this, root);
  if (size() == 1 || inout.count == 0) return finished_work();
  auto work = std::make_unique<MpiWork>(*state_, "broadcast", inout);
  Staging& staging = state_->staging;
  const Elements host = elements(
      work->keep(rank() == root ? staging.image_to_read(inout) : staging.image_to_write(inout)),
      inout.dtype);
  staging.sync();
  for_pieces(inout.count, inout.dtype, options_.max_message_bytes,
             [&](std::int64_t begin, int count) {
               work->check(MPI_Ibcast(host.at(begin), count, mpi_datatype(inout.dtype), root,
                                      state_->comm(), work->add_request()));
             });
  return work;
}

PendingWork MpiCommunicator::start_exchange(std::span<const Transfer> transfers) {
  require_valid(*this, transfers);
  if (transfers.empty()) return finished_work();
  auto work = std::make_unique<MpiWork>(*state_, "exchange", transfers.front().buffer);
  std::vector<Buffer> hosts;
  for (const Transfer& transfer : transfers) {
    Staging::Image image = transfer.kind == Transfer::Kind::kSend
                               ? state_->staging.image_to_read(transfer.buffer)
                               : state_->staging.image_to_write(transfer.buffer);
    hosts.push_back(
        {work->keep(std::move(image)), transfer.buffer.count, transfer.buffer.dtype, Place::kHost});
  }
  state_->staging.sync();
  // Receives first: a message that finds its receive posted is not copied aside.
  for (const auto kind : {Transfer::Kind::kReceive, Transfer::Kind::kSend}) {
    for (std::size_t i = 0; i < transfers.size(); ++i) {
      if (transfers[i].kind != kind) continue;
      const auto post = kind == Transfer::Kind::kSend ? &MpiCommunicator::send_pieces
                                                      : &MpiCommunicator::receive_pieces;
      (this->*post)(*work, hosts[i], transfers[i].peer, kExchangeTag);
    }
  }
  return work;
}

void MpiCommunicator::send_pieces(MpiWork& work, Buffer host, int peer, int tag) {
  const Elements from = elements(static_cast<std::byte*>(host.data), host.dtype);
  for_pieces(host.count, host.dtype, options_.max_message_bytes,
             [&](std::int64_t begin, int count) {
               work.check(MPI_Isend(from.at(begin), count, mpi_datatype(host.dtype), peer, tag,
                                    state_->comm(), work.add_request()));
             });
}

void MpiCommunicator::receive_pieces(MpiWork& work, Buffer host, int peer, int tag) {
  const MPI_Datatype type = mpi_datatype(host.dtype);
  const Elements into = elements(static_cast<std::byte*>(host.data), host.dtype);
  for_pieces(
      host.count, host.dtype, options_.max_message_bytes, [&](std::int64_t begin, int count) {
        work.check(
            MPI_Irecv(into.at(begin), count, type, peer, tag, state_->comm(), work.add_request()));
        work.expect(count, type);
      });
}

void MpiCommunicator::barrier() {
  state_->throw_deferred();
  state_->check(MPI_Barrier(state_->comm()), "barrier", {});
}

}  // namespace cuboid
