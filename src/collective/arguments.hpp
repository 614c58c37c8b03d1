// What both backends check and derive from the arguments of a verb.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/collective/cuda.hpp"

namespace cuboid {

// Consecutive parts of a buffer, one for each rank.
struct Parts {
  std::vector<std::int64_t> counts;
  std::vector<std::int64_t> offsets;
  std::int64_t total = 0;
  bool even = true;  // all counts are equal

  [[nodiscard]] std::int64_t largest() const;
};

// `part` belongs to this rank, `whole` holds the parts of all. Without counts all are as `part`.
// Throws std::logic_error where counts, buffers and communicator contradict each other.
Parts parts_of(const Communicator& comm, ConstBuffer part, ConstBuffer whole,
               std::span<const std::int64_t> counts);

void require_valid(const Communicator& comm, std::span<const Transfer> transfers);
void require_rank(const Communicator& comm, int rank);

// Copies each send of a communicator of one rank to the receive that it meets.
void exchange_with_self(std::span<const Transfer> transfers, cudaStream_t compute_stream);

// "all_reduce of 12 fp32 on communicator tp (rank 3 of 4)"
std::string describe(const Communicator& comm, std::string_view verb, ConstBuffer buffer);

// Of an operation that needed nothing, or is in the compute stream's order already.
PendingWork finished_work();

}  // namespace cuboid
