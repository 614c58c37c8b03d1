// What is saved and loaded: slices of whole logical tensors in host memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuboid/base/buffer.hpp"
#include "cuboid/checkpoint/layout.hpp"

namespace cuboid {

// This rank's box of one tensor. A tensor has at least one dim; a single value has shape [1].
struct TensorSlice {
  std::string name;  // its place in the file: "parameters/layers.3.mlp.up.weight"
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape;   // of the whole tensor, without padding
  std::vector<std::int64_t> offset;  // this rank's box
  std::vector<std::int64_t> extent;
  Buffer data;         // host memory: the box's elements, contiguous, in row-major order
  bool writes = true;  // false where another rank of the grid saves the same elements

  [[nodiscard]] Box box() const { return {offset, extent}; }
};

// A tensor as a file describes it.
struct TensorInfo {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape;
  std::uint64_t digest = 0;  // of the whole tensor, see digest.hpp
  bool operator==(const TensorInfo&) const = default;
};

// Part `index` of `parts` of a box that `parts` ranks hold alike: saved so, the replicas share the
// work and each element is written once. The parts are runs of the box's outermost dim that can be
// cut, of at least 64 KiB where there are so many; the others are empty. Which ranks get a small
// tensor depends on its name.
TensorSlice share_of(const TensorSlice& slice, int parts, int index);

// Throws std::logic_error naming the tensor where name, box, dtype and data do not fit together.
void require_valid(const TensorSlice& slice);

}  // namespace cuboid
