// The logical layout: boxes of whole tensors, as pure arithmetic. All indices count elements, in
// row-major order of the whole tensor's true shape.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace cuboid {

// An axis-aligned part of a tensor: [offset, offset + extent) in each dim; empty where an extent
// is 0.
struct Box {
  std::vector<std::int64_t> offset;
  std::vector<std::int64_t> extent;
  bool operator==(const Box&) const = default;
  auto operator<=>(const Box&) const = default;
};

// Elements that lie together in the whole tensor and in the box's own contiguous storage.
struct Run {
  std::int64_t tensor_begin;  // index in the whole tensor
  std::int64_t box_begin;     // index in the box
  std::int64_t count;
};

// The product of the extents; 1 without dims.
std::int64_t volume(std::span<const std::int64_t> extent);

// "[4, 8]"
std::string to_string(std::span<const std::int64_t> shape);

// The box that is the whole tensor.
Box whole(std::span<const std::int64_t> shape);

// True where box and tensor have as many dims and the box does not reach out of it.
bool is_inside(const Box& box, std::span<const std::int64_t> shape);

// True where the box is one run (or empty).
bool is_one_run(const Box& box, std::span<const std::int64_t> shape);

// Calls `visit` for each maximal run of the box, in ascending order.
void for_each_run(const Box& box, std::span<const std::int64_t> shape,
                  const std::function<void(const Run&)>& visit);

// The box cut into boxes of at most `max_count` elements, in the order of the box's own storage:
// piece after piece they are that storage. None where the box is empty.
std::vector<Box> pieces_of(const Box& box, std::int64_t max_count);

// True where the boxes cover every element of the tensor exactly once. Empty boxes do no harm.
bool tiles(std::vector<Box> boxes, std::span<const std::int64_t> shape);

}  // namespace cuboid
