#include "cuboid/checkpoint/tensor_reader.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>

#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/checkpoint/digest.hpp"
#include "cuboid/checkpoint/exchange.hpp"
#include "cuboid/checkpoint/reader.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {
namespace {

// Of one read: its values are summed while the processor's cache still holds them.
constexpr std::int64_t kPieceBytes = std::int64_t{2} << 20;

// Reads this rank's part of all tensors. Nothing here waits for another rank, except exchanges,
// which are made also after a failure (with whatever the memory holds).
class TensorReader {
 public:
  TensorReader(const CheckpointReader& file, MPI_Comm comm, const LoadPlan& plan,
               std::span<const TensorSlice> slices, std::int64_t exchange_bytes)
      : file_(file),
        plan_(plan),
        slices_(slices),
        exchange_bytes_(exchange_bytes),
        sums_(slices.size(), 0),
        batches_{Batch(comm), Batch(comm)} {
    check_mpi(MPI_Comm_rank(comm, &rank_));
  }

  void read_own() {
    for (std::size_t t = 0; t < plan_.tensors.size(); ++t) {
      if (!plan_.holders[t].empty()) continue;
      for (const std::size_t s : plan_.mine[t]) {
        auto* data = static_cast<std::byte*>(slices_[s].data.data);
        for (const Box& piece : pieces_of(slices_[s].box(), kPieceBytes / width_of(t))) {
          read(t, piece, data);
          add_to_sum(s, t, piece, data);
          data += volume(piece.extent) * width_of(t);
        }
      }
    }
  }

  // The exchange of one batch is under way while the next is read.
  void read_traded() {
    const auto batches = row_batches(plan_.tensors, plan_.holders, exchange_bytes_);
    for (std::size_t b = 0; b <= batches.size(); ++b) {
      if (b < batches.size()) start(batches[b], batches_[b % 2]);
      if (b > 0) finish(batches[b - 1], batches_[(b - 1) % 2]);
    }
  }

  [[nodiscard]] const Outcome& outcome() const { return outcome_; }
  [[nodiscard]] const std::vector<std::uint64_t>& sums() const { return sums_; }

 private:
  struct Batch {
    explicit Batch(MPI_Comm comm) : exchange(comm) {}
    Scratch memory;
    Exchange exchange;  // last: it ends before its memory does
  };

  [[nodiscard]] std::int64_t width_of(std::size_t tensor) const {
    return static_cast<std::int64_t>(size_of(plan_.tensors[tensor].dtype));
  }

  void start(const std::vector<RowPiece>& pieces, Batch& batch) {
    for (const RowPiece& piece : pieces) {
      const std::size_t t = piece.tensor;
      if (plan_.mine[t].empty()) continue;  // not among the holders
      auto portions = divide_rows(plan_.tensors[t], piece, plan_.holders[t], exchange_bytes_);
      for (Portion& portion : portions) {
        if (portion.rank != rank_) continue;
        portion.data =
            batch.memory.take(static_cast<std::size_t>(volume(portion.box.extent) * width_of(t)));
        read(t, portion.box, portion.data);
      }
      batch.exchange.start(static_cast<std::size_t>(width_of(t)), portions, plan_.holders[t]);
    }
  }

  void finish(const std::vector<RowPiece>& pieces, Batch& batch) {
    batch.exchange.finish();
    batch.memory.clear();
    for (const RowPiece& piece : pieces)
      for (const std::size_t s : plan_.mine[piece.tensor]) add_rows_to_sum(s, piece);
  }

  void read(std::size_t tensor, const Box& box, std::byte* data) {
    if (outcome_.kind != Outcome::Kind::kGood) return;
    const TensorInfo& info = plan_.tensors[tensor];
    outcome_ = attempt([&] {
      file_.read({.name = info.name,
                  .dtype = info.dtype,
                  .shape = info.shape,
                  .offset = box.offset,
                  .extent = box.extent,
                  .data = {data, volume(box.extent), info.dtype, Place::kHost}});
    });
  }

  // Adds a part of the slice's box, whose elements lie at `data`.
  void add_to_sum(std::size_t slice, std::size_t tensor, const Box& part, const std::byte* data) {
    const TensorInfo& info = plan_.tensors[tensor];
    if (outcome_.kind == Outcome::Kind::kGood)
      sums_[slice] += digest_sum(info.dtype, info.shape, part, data);
  }

  // The slice's part of these rows lies in one run of its memory, as all dims before are 1.
  void add_rows_to_sum(std::size_t slice, const RowPiece& piece) {
    const TensorSlice& mine = slices_[slice];
    const std::size_t dim = row_dim(mine.shape);
    Box part = mine.box();
    const std::int64_t end = std::min(mine.offset[dim] + mine.extent[dim], piece.rows.end);
    part.offset[dim] = std::max(mine.offset[dim], piece.rows.begin);
    part.extent[dim] = std::max<std::int64_t>(0, end - part.offset[dim]);
    if (part.extent[dim] == 0) return;
    const std::int64_t row_bytes = static_cast<std::int64_t>(mine.data.bytes()) / mine.extent[dim];
    add_to_sum(slice, piece.tensor, part,
               static_cast<const std::byte*>(mine.data.data) +
                   (part.offset[dim] - mine.offset[dim]) * row_bytes);
  }

  const CheckpointReader& file_;
  const LoadPlan& plan_;
  std::span<const TensorSlice> slices_;
  std::int64_t exchange_bytes_;
  int rank_ = 0;
  Outcome outcome_;
  std::vector<std::uint64_t> sums_;
  std::array<Batch, 2> batches_;
};

}  // namespace

std::vector<std::uint64_t> read_tensors(const CheckpointReader& file, MPI_Comm comm,
                                        const LoadPlan& plan, std::span<const TensorSlice> slices,
                                        std::int64_t exchange_bytes) {
  TensorReader reader(file, comm, plan, slices, exchange_bytes);
  reader.read_own();
  reader.read_traded();
  agree(comm, reader.outcome());
  return reader.sums();
}

}  // namespace cuboid
