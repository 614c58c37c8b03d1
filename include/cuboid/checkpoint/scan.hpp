// Reading the values of a checkpoint's tensors at the speed of the disk: piece by piece, by several
// threads, past HDF5 (which lets one thread in at a time). A tensor is one run of bytes of the
// file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cuboid/checkpoint/file.hpp"
#include "cuboid/checkpoint/reader.hpp"
#include "cuboid/checkpoint/tensor_slice.hpp"

namespace cuboid {

// A run of a tensor's elements that one thread reads at once.
struct Piece {
  std::int64_t tensor = 0;  // the caller's number for it
  std::int64_t first = 0;   // element of the tensor, in row-major order
  std::int64_t count = 0;   // elements
  std::int64_t offset = 0;  // byte of the file
  DType dtype = DType::kFloat32;
  [[nodiscard]] std::int64_t bytes() const {
    return count * static_cast<std::int64_t>(size_of(dtype));
  }
};

// Appends the pieces of a tensor that begins at byte `offset` of its file, in ascending order; none
// where it is empty.
void append_pieces(const TensorInfo& tensor, std::int64_t number, std::int64_t offset,
                   std::vector<Piece>& pieces);

// Reads the piece into `buffer`, which becomes as long as it. Throws SystemError with `what`.
void read_piece(const Descriptor& file, const Piece& piece, std::vector<std::byte>& buffer,
                const std::string& what);

// What these values of the piece add to the sum of its tensor (digest.hpp).
std::uint64_t sum_of(const Piece& piece, std::span<const std::byte> values);

// A sentence for each tensor of the file (damage_text) whose sum is not that of its digest; `sums`
// are those of all its tensors, in their order.
std::vector<std::string> damaged_tensors(const CheckpointReader& reader,
                                         std::span<const std::uint64_t> sums);

// Handles the items 0 to count - 1, each once, in about that order, by `num_threads` threads (the
// caller's is one of them). `make_worker` is called once in each; what it returns handles items one
// after another. The first exception ends all and is thrown again here.
using Worker = std::function<void(std::int64_t item)>;
void share_among_threads(std::int64_t count, int num_threads,
                         const std::function<Worker()>& make_worker);

// Makes the system forget what it keeps in memory of the file, so that the next read comes from the
// disk. Does nothing where the file cannot be opened: whoever reads it next says why.
void forget_cached(const std::string& path);

}  // namespace cuboid
