#include "arguments.hpp"

#include <algorithm>
#include <numeric>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

class FinishedWork final : public Work {
 public:
  void wait() override {}
  bool poll() override { return true; }
};

std::vector<Buffer> buffers_of(std::span<const Transfer> transfers, Transfer::Kind kind) {
  std::vector<Buffer> buffers;
  for (const Transfer& transfer : transfers) {
    if (transfer.kind == kind) buffers.push_back(transfer.buffer);
  }
  return buffers;
}

}  // namespace

std::int64_t Parts::largest() const {
  return *std::max_element(counts.begin(), counts.end());
}

Parts parts_of(const Communicator& comm, ConstBuffer part, ConstBuffer whole,
               std::span<const std::int64_t> counts) {
  const auto size = static_cast<std::size_t>(comm.size());
  Parts parts;
  parts.counts = counts.empty() ? std::vector<std::int64_t>(size, part.count)
                                : std::vector<std::int64_t>(counts.begin(), counts.end());
  require(parts.counts.size() == size, "one count for each rank");
  require(parts.counts[static_cast<std::size_t>(comm.rank())] == part.count,
          "this rank's count is that of its buffer");
  parts.offsets.resize(size);
  std::exclusive_scan(parts.counts.begin(), parts.counts.end(), parts.offsets.begin(),
                      std::int64_t{0});
  parts.total = parts.offsets.back() + parts.counts.back();
  const auto differs = [&](std::int64_t count) { return count != parts.counts.front(); };
  parts.even = std::none_of(parts.counts.begin(), parts.counts.end(), differs);
  require(std::all_of(parts.counts.begin(), parts.counts.end(), [](auto n) { return n >= 0; }),
          "counts are not negative");
  require(parts.total == whole.count, "the parts fill the whole buffer");
  require(part.dtype == whole.dtype, "part and whole have one dtype");
  require(part.place == whole.place, "part and whole are in one place");
  return parts;
}

void require_rank(const Communicator& comm, int rank) {
  require(rank >= 0 && rank < comm.size(), "a peer is a rank of the communicator");
}

void require_valid(const Communicator& comm, std::span<const Transfer> transfers) {
  for (const Transfer& transfer : transfers) require_rank(comm, transfer.peer);
}

void exchange_with_self(std::span<const Transfer> transfers, cudaStream_t compute_stream) {
  const auto sends = buffers_of(transfers, Transfer::Kind::kSend);
  const auto receives = buffers_of(transfers, Transfer::Kind::kReceive);
  require(sends.size() == receives.size(), "a rank alone receives what it sends");
  for (std::size_t i = 0; i < sends.size(); ++i) {
    copy_elements(sends[i], receives[i], compute_stream);
  }
}

std::string describe(const Communicator& comm, std::string_view verb, ConstBuffer buffer) {
  std::string text(verb);
  if (buffer.data != nullptr) {
    text +=
        format(" of %lld %s", static_cast<long long>(buffer.count), name_of(buffer.dtype).data());
  }
  return text + format(" on communicator %s (rank %d of %d)", comm.name().c_str(), comm.rank(),
                       comm.size());
}

PendingWork finished_work() {
  return std::make_unique<FinishedWork>();
}

}  // namespace cuboid
