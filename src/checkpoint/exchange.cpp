#include "cuboid/checkpoint/exchange.hpp"

#include <algorithm>
#include <climits>
#include <cstring>
#include <map>

#include "cuboid/base/error.hpp"
#include "cuboid/checkpoint/wire.hpp"

namespace cuboid {
namespace {

constexpr int kTag = 1;
// Smaller pieces cost a file system and a network more than they gain in parallel.
constexpr std::int64_t kMinPieceBytes = std::int64_t{1} << 20;

Box intersection(const Box& a, const Box& b) {
  Box both = a;
  for (std::size_t d = 0; d < a.offset.size(); ++d) {
    both.offset[d] = std::max(a.offset[d], b.offset[d]);
    const std::int64_t end = std::min(a.offset[d] + a.extent[d], b.offset[d] + b.extent[d]);
    both.extent[d] = std::max<std::int64_t>(0, end - both.offset[d]);
  }
  return both;
}

// `part` as seen from inside `box`.
Box relative(Box part, const Box& box) {
  for (std::size_t d = 0; d < box.offset.size(); ++d) part.offset[d] -= box.offset[d];
  return part;
}

// Where the part begins in the portion's data, if it lies there in one run; else null.
std::byte* run_in(const Portion& portion, const Box& part, std::size_t width) {
  const Box inside = relative(part, portion.box);
  if (!is_one_run(inside, portion.box.extent)) return nullptr;
  std::byte* begin = portion.data;
  std::size_t stride = width;
  for (std::size_t d = inside.offset.size(); d-- > 0;) {
    begin += static_cast<std::size_t>(inside.offset[d]) * stride;
    stride *= static_cast<std::size_t>(portion.box.extent[d]);
  }
  return begin;
}

void pack(const Portion& from, const Box& part, std::size_t width, std::byte* packed) {
  for_each_run(relative(part, from.box), from.box.extent, [&](const Run& run) {
    std::memcpy(packed + static_cast<std::size_t>(run.box_begin) * width,
                from.data + static_cast<std::size_t>(run.tensor_begin) * width,
                static_cast<std::size_t>(run.count) * width);
  });
}

void unpack(const std::byte* packed, const Box& part, std::size_t width, const Portion& into) {
  for_each_run(relative(part, into.box), into.box.extent, [&](const Run& run) {
    std::memcpy(into.data + static_cast<std::size_t>(run.tensor_begin) * width,
                packed + static_cast<std::size_t>(run.box_begin) * width,
                static_cast<std::size_t>(run.count) * width);
  });
}

std::int64_t bytes_of(const TensorInfo& tensor) {
  return volume(tensor.shape) * static_cast<std::int64_t>(size_of(tensor.dtype));
}

int message_bytes(const Box& part, std::size_t width) {
  const std::int64_t bytes = volume(part.extent) * static_cast<std::int64_t>(width);
  require(bytes <= INT_MAX, "a part of an exchange fits into one message");
  return static_cast<int>(bytes);
}

}  // namespace

std::byte* Scratch::take(std::size_t bytes) {
  if (num_taken_ == blocks_.size()) blocks_.emplace_back();
  Block& block = blocks_[num_taken_++];
  if (block.size < bytes) block = {std::make_unique_for_overwrite<std::byte[]>(bytes), bytes};
  return block.bytes.get();
}

Exchange::Exchange(MPI_Comm comm) : comm_(comm) {
  check_mpi(MPI_Comm_rank(comm, &rank_));
}

Exchange::~Exchange() {
  try {
    wait_patiently(requests_);
  } catch (const SystemError&) {
    // MPI is broken: who asks it for something next will hear of it.
    requests_.clear();
  }
}

// Two ranks' messages match by their order: sources outside, destinations inside, on both sides.
void Exchange::start(std::size_t width, std::span<const Portion> from,
                     std::span<const Portion> to) {
  for (const Portion& source : from) {
    for (const Portion& target : to)
      if (target.rank == rank_ && source.rank != rank_) receive(width, source, target);
  }
  for (const Portion& source : from)
    if (source.rank == rank_) send(width, source, to);
}

void Exchange::receive(std::size_t width, const Portion& from, const Portion& to) {
  Box part = intersection(from.box, to.box);
  const int bytes = message_bytes(part, width);
  if (bytes == 0) return;
  std::byte* place = run_in(to, part, width);
  if (place == nullptr) {
    place = scratch_.take(static_cast<std::size_t>(bytes));
    unpacking_.push_back({place, std::move(part), to, width});
  }
  check_mpi(MPI_Irecv(place, bytes, MPI_BYTE, from.rank, kTag, comm_, &requests_.emplace_back()));
}

void Exchange::send(std::size_t width, const Portion& from, std::span<const Portion> to) {
  std::map<Box, const std::byte*> packed;  // one for all who want the same
  for (const Portion& target : to) {
    const Box part = intersection(from.box, target.box);
    const int bytes = message_bytes(part, width);
    if (bytes == 0) continue;
    const std::byte* place = run_in(from, part, width);
    if (target.rank == rank_ && place != nullptr) {
      unpack(place, part, width, target);
      continue;
    }
    if (place == nullptr) {
      const auto [found, is_new] = packed.try_emplace(part, nullptr);
      std::byte* fresh = is_new ? scratch_.take(static_cast<std::size_t>(bytes)) : nullptr;
      if (is_new) pack(from, part, width, fresh);
      if (is_new) found->second = fresh;
      place = found->second;
    }
    if (target.rank == rank_) {
      unpack(place, part, width, target);
    } else {
      check_mpi(
          MPI_Isend(place, bytes, MPI_BYTE, target.rank, kTag, comm_, &requests_.emplace_back()));
    }
  }
}

void Exchange::finish() {
  wait_patiently(requests_);
  for (const Unpacking& message : unpacking_)
    unpack(message.packed, message.part, message.width, message.into);
  requests_.clear();
  unpacking_.clear();
  scratch_.clear();
}

std::size_t row_dim(std::span<const std::int64_t> shape) {
  const auto found = std::ranges::find_if(shape, [](std::int64_t n) { return n > 1; });
  return found == shape.end() ? 0 : static_cast<std::size_t>(found - shape.begin());
}

std::vector<Portion> divide_rows(const TensorInfo& info, const RowPiece& piece,
                                 std::span<const Portion> holders, std::int64_t exchange_bytes) {
  const std::size_t dim = row_dim(info.shape);
  const std::int64_t row_bytes = bytes_of(info) / info.shape[dim];
  const auto num_holders = static_cast<std::int64_t>(holders.size());
  const std::int64_t num_parts = std::clamp<std::int64_t>(
      piece.rows.size() * row_bytes / std::min(kMinPieceBytes, exchange_bytes), 1,
      std::min(num_holders, piece.rows.size()));
  std::vector<Portion> portions;
  for (std::int64_t p = 0; p < num_parts; ++p) {
    const auto holder = static_cast<std::size_t>(p * num_holders / num_parts) + piece.tensor;
    const Range part = even_part(piece.rows.size(), num_parts, p);
    Box box = whole(info.shape);
    box.offset[dim] = piece.rows.begin + part.begin;
    box.extent[dim] = part.size();
    portions.push_back({.rank = holders[holder % holders.size()].rank, .box = std::move(box)});
  }
  return portions;
}

std::vector<std::vector<RowPiece>> row_batches(std::span<const TensorInfo> tensors,
                                               std::span<const std::vector<Portion>> holders,
                                               std::int64_t exchange_bytes) {
  std::vector<std::vector<RowPiece>> batches;
  std::int64_t left = 0;  // bytes that the last batch has room for, for each holder
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    if (holders[t].empty()) continue;
    const std::int64_t num_rows = tensors[t].shape[row_dim(tensors[t].shape)];
    const auto num_holders = static_cast<std::int64_t>(holders[t].size());
    const std::int64_t row_bytes = bytes_of(tensors[t]) / num_rows;
    for (std::int64_t row = 0; row < num_rows;) {
      if (left * num_holders < row_bytes || batches.empty()) {
        batches.emplace_back();
        left = exchange_bytes;
      }
      const std::int64_t count =
          std::clamp<std::int64_t>(left * num_holders / row_bytes, 1, num_rows - row);
      batches.back().push_back({t, {row, row + count}});
      left -= std::max<std::int64_t>(1, count * row_bytes / num_holders);
      row += count;
    }
  }
  return batches;
}

}  // namespace cuboid
