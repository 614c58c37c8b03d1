#include "shared_reducer.hpp"

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string_view>

#include "cuboid/base/error.hpp"
#include "cuboid/grid/grid.hpp"
#include "reduction.hpp"

namespace cuboid {
namespace {

constexpr std::size_t kLine = 64;
// Signatures of the operations that are started but not yet seen by all.
constexpr std::size_t kSignatures = 64;
// A piece stays in the second-level cache while it is summed and written to all ranks.
constexpr std::size_t kPieceBytes = std::size_t{128} << 10;
constexpr std::size_t kBytesOfProgress = std::size_t{4} << 20;
// Tries before the processor is left to others, which may be the ranks that are waited for.
constexpr int kSpins = 200;

// What must be the same on all ranks.
std::uint64_t signature_of(std::size_t memory, std::size_t offset, const Buffer& buffer,
                           ReduceOp op) {
  std::uint64_t hash = memory;
  for (const std::uint64_t part :
       {std::uint64_t{offset}, static_cast<std::uint64_t>(buffer.count),
        static_cast<std::uint64_t>(buffer.dtype), static_cast<std::uint64_t>(op)}) {
    hash = (hash ^ part) * 0x9E3779B97F4A7C15U;
    hash ^= hash >> 29;
  }
  return hash;
}

// On every node or on none, which is then said of the first that has none.
std::unique_ptr<SharedMemory> memory_on_all_nodes(MPI_Comm comm, MPI_Comm node, std::size_t bytes) {
  const int size = size_of_comm(comm);
  std::unique_ptr<SharedMemory> memory;
  std::array<char, 512> reason{};
  int first = size;
  try {
    memory = std::make_unique<SharedMemory>(node, bytes);
  } catch (const NoSharedMemory& no_memory) {
    std::string_view(no_memory.what()).copy(reason.data(), reason.size() - 1);
    first = rank_in(comm);
  }
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, comm));
  if (first == size) return memory;
  check_mpi(MPI_Bcast(reason.data(), static_cast<int>(reason.size()), MPI_CHAR, first, comm));
  throw NoSharedMemory(reason.data());
}

}  // namespace

struct alignas(64) SharedReducer::Slot {
  std::atomic<std::uint64_t> ready;                                   // operations started
  alignas(kLine) std::atomic<std::uint64_t> done;                     // shares summed and written
  alignas(kLine) std::atomic<std::uint64_t> signatures[kSignatures];  // by number
};

SharedReducer::SharedReducer(MPI_Comm comm, NodeLayout layout, const MpiOps& ops,
                             std::int64_t piece_bytes)
    : comm_(comm),
      layout_(std::move(layout)),
      ops_(ops),
      piece_bytes_(layout_.num_nodes > 1 ? static_cast<std::size_t>(piece_bytes) : kPieceBytes),
      rank_(rank_in(layout_.node.get())),
      size_(size_of_comm(layout_.node.get())),
      slots_(memory_on_all_nodes(comm_, layout_.node.get(), sizeof(Slot))) {
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
}

SharedReducer::Slot& SharedReducer::slot(int rank) const {
  // The pages are zero, which is what a new Slot holds.
  return *reinterpret_cast<Slot*>(slots_->of(rank));
}

std::byte* SharedReducer::allocate(std::size_t bytes) {
  const std::size_t whole_lines = (bytes + kLine - 1) / kLine * kLine;
  memories_.push_back(memory_on_all_nodes(comm_, layout_.node.get(), whole_lines));
  return memories_.back()->of(rank_);
}

const SharedMemory* SharedReducer::find(const Buffer& buffer) const {
  if (buffer.place != Place::kHost) return nullptr;
  const auto* data = static_cast<const std::byte*>(buffer.data);
  for (const auto& memory : memories_) {
    const std::byte* begin = memory->of(rank_);
    if (data >= begin && data + buffer.bytes() <= begin + memory->bytes()) return memory.get();
  }
  return nullptr;
}

std::uint64_t SharedReducer::start(const Buffer& inout, ReduceOp op) {
  const SharedMemory* memory = find(inout);
  require(memory != nullptr, "a shared reduction's buffer lies in shared memory");
  require(inout.dtype != DType::kUInt8, "uint8 is moved, never reduced");
  // A signature is overwritten only when everyone has seen it.
  while (num_started_ - num_complete_ >= kSignatures) progress();
  const auto offset =
      static_cast<std::size_t>(static_cast<std::byte*>(inout.data) - memory->of(rank_));
  const auto index =
      static_cast<std::size_t>(std::find_if(memories_.begin(), memories_.end(),
                                            [&](const auto& one) { return one.get() == memory; }) -
                               memories_.begin());
  const std::uint64_t number = ++num_started_;
  // Shares begin at lines of the cache, so that no two ranks write to one.
  const std::int64_t unit = static_cast<std::int64_t>(kLine / size_of(inout.dtype));
  const std::int64_t units = (inout.count + unit - 1) / unit;
  // Ranks behind the leaders, on nodes with more ranks than the smallest, have no share.
  const auto border = [&](int rank) {
    const int leader = std::min(rank, layout_.num_leaders);
    return std::min(inout.count, units * leader / layout_.num_leaders * unit);
  };
  under_way_.push_back({.memory = memory,
                        .offset = offset,
                        .count = inout.count,
                        .dtype = inout.dtype,
                        .op = op,
                        .number = number,
                        .next = border(rank_),
                        .end = border(rank_ + 1)});
  Slot& mine = slot(rank_);
  mine.signatures[number % kSignatures].store(signature_of(index, offset, inout, op),
                                              std::memory_order_relaxed);
  mine.ready.store(number, std::memory_order_release);
  return number;
}

bool SharedReducer::all_are_ready(const Operation& operation) const {
  for (int rank = 0; rank < size_; ++rank) {
    if (slot(rank).ready.load(std::memory_order_acquire) < operation.number) return false;
  }
  const auto signature = [&](int rank) {
    return slot(rank).signatures[operation.number % kSignatures].load(std::memory_order_relaxed);
  };
  for (int rank = 0; rank < size_; ++rank) {
    require(signature(rank) == signature(rank_), "all ranks reduce the same buffer alike");
  }
  return true;
}

void SharedReducer::sum_a_piece(const Operation& operation, const Range& piece) const {
  const std::size_t width = size_of(operation.dtype);
  const std::size_t at = operation.offset + static_cast<std::size_t>(piece.begin) * width;
  std::vector<const void*> parts(static_cast<std::size_t>(size_));
  for (int rank = 0; rank < size_; ++rank)
    parts[static_cast<std::size_t>(rank)] = operation.memory->of(rank) + at;
  reduce_parts(operation.dtype, operation.op, parts, operation.memory->of(rank_) + at,
               piece.size());
  if (layout_.num_nodes == 1) write_to_node(operation, piece);
}

void SharedReducer::start_between_nodes(Operation& operation, const Range& piece) const {
  if (layout_.num_nodes == 1) return;
  const std::size_t width = size_of(operation.dtype);
  std::byte* data = operation.memory->of(rank_) + operation.offset +
                    static_cast<std::size_t>(piece.begin) * width;
  operation.between_nodes.push_back({piece, MPI_REQUEST_NULL});
  check_mpi(MPI_Iallreduce(MPI_IN_PLACE, data, static_cast<int>(piece.size()),
                           mpi_datatype(operation.dtype), ops_.get(operation.dtype, operation.op),
                           layout_.peers.get(), &operation.between_nodes.back().request));
}

void SharedReducer::write_to_node(const Operation& operation, const Range& piece) const {
  const std::size_t width = size_of(operation.dtype);
  const std::size_t at = operation.offset + static_cast<std::size_t>(piece.begin) * width;
  const std::byte* from = operation.memory->of(rank_) + at;
  for (int rank = 0; rank < size_; ++rank) {
    if (rank == rank_) continue;
    std::memcpy(operation.memory->of(rank) + at, from,
                static_cast<std::size_t>(piece.size()) * width);
  }
}

bool SharedReducer::sum_share(Operation& operation, std::size_t& bytes, int threads) const {
  const std::size_t most_bytes = kBytesOfProgress * static_cast<std::size_t>(threads);
  const std::size_t width = size_of(operation.dtype);
  const auto step = static_cast<std::int64_t>(piece_bytes_ / width);
  std::vector<Range> pieces;
  for (; operation.next < operation.end && bytes < most_bytes; bytes += piece_bytes_) {
    const std::int64_t end = std::min(operation.next + step, operation.end);
    pieces.push_back({operation.next, end});
    operation.next = end;
  }
  // For one piece calling a team together takes as long as what it saves.
  if (threads > 1 && pieces.size() > 1) {
#pragma omp parallel for schedule(static)
    for (const Range& piece : pieces) sum_a_piece(operation, piece);
    for (const Range& piece : pieces) start_between_nodes(operation, piece);
  } else {
    for (const Range& piece : pieces) {
      sum_a_piece(operation, piece);
      start_between_nodes(operation, piece);
    }
  }
  return operation.next == operation.end;
}

bool SharedReducer::finish_pieces(Operation& operation) const {
  for (std::deque<Piece>& pieces = operation.between_nodes; !pieces.empty(); pieces.pop_front()) {
    int arrived = 0;
    check_mpi(MPI_Test(&pieces.front().request, &arrived, MPI_STATUS_IGNORE));
    if (arrived == 0) return false;
    write_to_node(operation, pieces.front().elements);
  }
  return true;
}

void SharedReducer::progress(int threads) {
  std::size_t bytes = 0;
  bool in_turn = true;  // every earlier operation is done here
  // Shares are summed in order, so that messages between nodes start in one order everywhere; an
  // operation is complete when all ranks have done theirs.
  for (Operation& operation : under_way_) {
    if (!operation.all_ready && !all_are_ready(operation)) break;
    operation.all_ready = true;
    const bool summed = sum_share(operation, bytes, threads);
    in_turn = finish_pieces(operation) && summed && in_turn;
    Slot& mine = slot(rank_);
    if (in_turn && mine.done.load(std::memory_order_relaxed) < operation.number)
      mine.done.store(operation.number, std::memory_order_release);
    if (!summed) break;
  }
  std::uint64_t done_by_all = num_started_;
  for (int rank = 0; rank < size_; ++rank)
    done_by_all = std::min(done_by_all, slot(rank).done.load(std::memory_order_acquire));
  num_complete_ = done_by_all;
  while (!under_way_.empty() && under_way_.front().number <= num_complete_) under_way_.pop_front();
}

void SharedReducer::wait_for(std::uint64_t operation) {
  const int threads = omp_get_max_threads();
  for (int spins = 0; num_complete_ < operation; ++spins) {
    progress(threads);
    if (num_complete_ >= operation || spins < kSpins) continue;
    // The ranks that are waited for may need this one to answer their messages.
    int there = 0;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm_, &there, MPI_STATUS_IGNORE));
    sched_yield();
  }
}

}  // namespace cuboid
