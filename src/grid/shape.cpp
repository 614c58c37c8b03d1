#include "cuboid/grid/shape.hpp"

#include <algorithm>

#include "cuboid/base/text.hpp"

namespace cuboid {

int rank_of(const GridShape& shape, const GridCoordinate& at) {
  return (at.pp * shape.dp + at.dp) * shape.tp + at.tp;
}

GridCoordinate coordinate_of(const GridShape& shape, int rank) {
  return {
      .dp = rank / shape.tp % shape.dp, .tp = rank % shape.tp, .pp = rank / (shape.tp * shape.dp)};
}

std::string to_string(const GridShape& shape) {
  return format("%dx%dx%d", shape.dp, shape.tp, shape.pp);
}

std::string to_string(const GridCoordinate& at) {
  return format("dp %d, tp %d, pp %d", at.dp, at.tp, at.pp);
}

Range even_part(std::int64_t total, std::int64_t parts, std::int64_t index) {
  const std::int64_t base = total / parts;
  const std::int64_t extra = total % parts;
  const std::int64_t begin = index * base + std::min(index, extra);
  return {begin, begin + base + (index < extra ? 1 : 0)};
}

Range block_part(std::int64_t total, std::int64_t block, std::int64_t index) {
  return {std::min(total, index * block), std::min(total, (index + 1) * block)};
}

}  // namespace cuboid
