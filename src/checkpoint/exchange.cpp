#include "cuboid/checkpoint/exchange.hpp"

#include <algorithm>
#include <climits>
#include <cstring>

#include "cuboid/base/error.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {
namespace {

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

std::vector<std::byte> pack(const Box& part, const Box& box, const void* data, std::size_t width) {
  std::vector<std::byte> packed(static_cast<std::size_t>(volume(part.extent)) * width);
  const auto* from = static_cast<const std::byte*>(data);
  for_each_run(relative(part, box), box.extent, [&](const Run& run) {
    std::memcpy(packed.data() + static_cast<std::size_t>(run.box_begin) * width,
                from + static_cast<std::size_t>(run.tensor_begin) * width,
                static_cast<std::size_t>(run.count) * width);
  });
  return packed;
}

void unpack(const std::vector<std::byte>& packed, const Box& part, Portion& into,
            std::size_t width) {
  for_each_run(relative(part, into.box), into.box.extent, [&](const Run& run) {
    std::memcpy(into.bytes.data() + static_cast<std::size_t>(run.tensor_begin) * width,
                packed.data() + static_cast<std::size_t>(run.box_begin) * width,
                static_cast<std::size_t>(run.count) * width);
  });
}

int message_bytes(const std::vector<std::byte>& message) {
  require(message.size() <= INT_MAX, "a part of an exchange fits into one message");
  return static_cast<int>(message.size());
}

// One exchange of one rank: what it sends and receives, until all of it is through.
class Exchange {
 public:
  Exchange(MPI_Comm comm, const TensorInfo& tensor, std::span<const Holder> holders, Range rows)
      : comm_(comm), tensor_(tensor), holders_(holders), rows_(rows) {
    check_mpi(MPI_Comm_rank(comm, &rank_));
  }

  void start_receives() {
    for (std::size_t j = 0; j < holders_.size(); ++j) {
      Portion portion{.box = target(j), .bytes = {}};
      if (holders_[j].rank != rank_ || volume(portion.box.extent) == 0) continue;
      portion.bytes.resize(bytes_in(portion.box));
      for (std::size_t i = 0; i < holders_.size(); ++i) {
        Message& message = received_.emplace_back();
        message.part = intersection(holders_[i].box, portion.box);
        message.portion = portions_.size();
        message.bytes.resize(bytes_in(message.part));
        if (message.bytes.empty()) continue;
        check_mpi(MPI_Irecv(message.bytes.data(), message_bytes(message.bytes), MPI_BYTE,
                            holders_[i].rank, tag(i, j), comm_, &requests_.emplace_back()));
      }
      portions_.push_back(std::move(portion));
    }
  }

  void start_sends(std::span<const TensorSlice* const> mine) {
    auto slice = mine.begin();
    for (std::size_t i = 0; i < holders_.size(); ++i) {
      if (holders_[i].rank != rank_) continue;
      const void* data = (*slice++)->data.data;
      for (std::size_t j = 0; j < holders_.size(); ++j) {
        const Box part = intersection(holders_[i].box, target(j));
        if (volume(part.extent) == 0) continue;
        const auto& bytes =
            sent_.emplace_back(pack(part, holders_[i].box, data, size_of(tensor_.dtype)));
        check_mpi(MPI_Isend(bytes.data(), message_bytes(bytes), MPI_BYTE, holders_[j].rank,
                            tag(i, j), comm_, &requests_.emplace_back()));
      }
    }
  }

  std::vector<Portion> finish() {
    check_mpi(
        MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE));
    for (const Message& message : received_)
      unpack(message.bytes, message.part, portions_[message.portion], size_of(tensor_.dtype));
    return std::move(portions_);
  }

 private:
  struct Message {
    Box part;
    std::vector<std::byte> bytes;
    std::size_t portion = 0;
  };

  [[nodiscard]] Box target(std::size_t holder) const {
    const std::size_t dim = row_dim(tensor_.shape);
    const Range part = even_part(rows_.size(), static_cast<std::int64_t>(holders_.size()),
                                 static_cast<std::int64_t>(holder));
    Box box = whole(tensor_.shape);
    box.offset[dim] = rows_.begin + part.begin;
    box.extent[dim] = part.size();
    return box;
  }
  [[nodiscard]] std::size_t bytes_in(const Box& box) const {
    return static_cast<std::size_t>(volume(box.extent)) * size_of(tensor_.dtype);
  }
  // A rank may be several holders, so its messages are told apart by holder.
  [[nodiscard]] int tag(std::size_t from, std::size_t to) const {
    return static_cast<int>(from * holders_.size() + to);
  }

  MPI_Comm comm_;
  const TensorInfo& tensor_;
  std::span<const Holder> holders_;
  Range rows_;
  int rank_ = 0;
  std::vector<Portion> portions_;
  std::vector<Message> received_;
  std::vector<std::vector<std::byte>> sent_;
  std::vector<MPI_Request> requests_;
};

}  // namespace

std::size_t row_dim(std::span<const std::int64_t> shape) {
  const auto found = std::ranges::find_if(shape, [](std::int64_t n) { return n > 1; });
  return found == shape.end() ? 0 : static_cast<std::size_t>(found - shape.begin());
}

std::vector<Range> row_batches(const TensorInfo& tensor, std::size_t num_holders,
                               std::int64_t bytes) {
  const std::int64_t num_rows = tensor.shape[row_dim(tensor.shape)];
  const std::int64_t tensor_bytes =
      volume(tensor.shape) * static_cast<std::int64_t>(size_of(tensor.dtype));
  if (tensor_bytes == 0) return {};
  const std::int64_t row_bytes = tensor_bytes / num_rows;
  const std::int64_t step =
      std::max<std::int64_t>(1, static_cast<std::int64_t>(num_holders) * bytes / row_bytes);
  std::vector<Range> batches;
  for (std::int64_t row = 0; row < num_rows; row += step)
    batches.push_back({row, std::min(row + step, num_rows)});
  return batches;
}

std::vector<Portion> exchange(MPI_Comm comm, const TensorInfo& tensor,
                              std::span<const Holder> holders,
                              std::span<const TensorSlice* const> mine, Range rows) {
  Exchange exchange(comm, tensor, holders, rows);
  exchange.start_receives();
  exchange.start_sends(mine);
  return exchange.finish();
}

}  // namespace cuboid
