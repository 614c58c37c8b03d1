#include "cuboid/checkpoint/layout.hpp"

#include <algorithm>

namespace cuboid {
namespace {

// The first dim from which on the box spans the whole tensor; the run length is the volume from the
// dim before it on.
std::size_t first_whole_dim(const Box& box, std::span<const std::int64_t> shape) {
  std::size_t dim = shape.size();
  while (dim > 0 && box.extent[dim - 1] == shape[dim - 1]) --dim;
  return dim;
}

bool disjoint(const Box& a, const Box& b) {
  for (std::size_t d = 0; d < a.offset.size(); ++d) {
    if (a.offset[d] + a.extent[d] <= b.offset[d]) return true;
    if (b.offset[d] + b.extent[d] <= a.offset[d]) return true;
  }
  return false;
}

void cut(Box box, std::int64_t max_count, std::vector<Box>& pieces) {
  const std::int64_t count = volume(box.extent);
  const auto dim = static_cast<std::size_t>(
      std::ranges::find_if(box.extent, [](std::int64_t n) { return n > 1; }) - box.extent.begin());
  if (count <= max_count || dim == box.extent.size()) {
    pieces.push_back(std::move(box));
    return;
  }
  // Cutting the outermost dim that can be cut keeps every part contiguous in the box's storage.
  const std::int64_t end = box.offset[dim] + box.extent[dim];
  const std::int64_t step = std::max<std::int64_t>(1, max_count / (count / box.extent[dim]));
  for (std::int64_t at = box.offset[dim]; at < end; at += step) {
    Box part = box;
    part.offset[dim] = at;
    part.extent[dim] = std::min(step, end - at);
    cut(std::move(part), max_count, pieces);
  }
}

}  // namespace

std::int64_t volume(std::span<const std::int64_t> extent) {
  std::int64_t product = 1;
  for (const std::int64_t n : extent) product *= n;
  return product;
}

std::string to_string(std::span<const std::int64_t> shape) {
  std::string text;
  for (const std::int64_t n : shape) text += (text.empty() ? "" : ", ") + std::to_string(n);
  return "[" + text + "]";
}

Box whole(std::span<const std::int64_t> shape) {
  return {std::vector<std::int64_t>(shape.size(), 0), {shape.begin(), shape.end()}};
}

bool is_inside(const Box& box, std::span<const std::int64_t> shape) {
  if (box.offset.size() != shape.size() || box.extent.size() != shape.size()) return false;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (box.offset[d] < 0 || box.extent[d] < 0) return false;
    if (box.offset[d] > shape[d] - box.extent[d]) return false;
  }
  return true;
}

bool is_one_run(const Box& box, std::span<const std::int64_t> shape) {
  if (volume(box.extent) == 0) return true;
  const std::size_t dim = first_whole_dim(box, shape);
  return dim == 0 || volume(std::span(box.extent).first(dim - 1)) == 1;
}

void for_each_run(const Box& box, std::span<const std::int64_t> shape,
                  const std::function<void(const Run&)>& visit) {
  if (volume(box.extent) == 0) return;
  // A run spans dims [outer, rank); a counter walks over the dims before.
  const std::size_t whole_dim = first_whole_dim(box, shape);
  const std::size_t outer = whole_dim == 0 ? 0 : whole_dim - 1;
  const std::int64_t count = volume(std::span(box.extent).subspan(outer));
  const std::int64_t num_runs = volume(std::span(box.extent).first(outer));
  std::vector<std::int64_t> stride(shape.size(), 1);
  for (std::size_t d = shape.size(); d-- > 1;) stride[d - 1] = stride[d] * shape[d];
  std::int64_t begin = 0;
  for (std::size_t d = 0; d < shape.size(); ++d) begin += box.offset[d] * stride[d];
  std::vector<std::int64_t> index(outer, 0);
  for (std::int64_t run = 0; run < num_runs; ++run) {
    visit({.tensor_begin = begin, .box_begin = run * count, .count = count});
    for (std::size_t d = outer; d-- > 0;) {
      begin += stride[d];
      if (++index[d] < box.extent[d]) break;
      begin -= stride[d] * box.extent[d];
      index[d] = 0;
    }
  }
}

std::vector<Box> pieces_of(const Box& box, std::int64_t max_count) {
  std::vector<Box> pieces;
  if (volume(box.extent) > 0) cut(box, std::max<std::int64_t>(1, max_count), pieces);
  return pieces;
}

bool tiles(std::vector<Box> boxes, std::span<const std::int64_t> shape) {
  std::erase_if(boxes, [](const Box& box) { return volume(box.extent) == 0; });
  std::int64_t covered = 0;
  for (const Box& box : boxes) {
    if (!is_inside(box, shape)) return false;
    covered += volume(box.extent);
  }
  if (covered != volume(shape)) return false;
  // As many elements as the tensor has, none of them twice: all of them once.
  std::ranges::sort(boxes);
  for (std::size_t a = 0; a < boxes.size(); ++a) {
    const std::int64_t end = shape.empty() ? 1 : boxes[a].offset[0] + boxes[a].extent[0];
    for (std::size_t b = a + 1; b < boxes.size(); ++b) {
      if (!shape.empty() && boxes[b].offset[0] >= end) break;
      if (!disjoint(boxes[a], boxes[b])) return false;
    }
  }
  return true;
}

}  // namespace cuboid
