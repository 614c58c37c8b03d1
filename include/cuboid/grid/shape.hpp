// Pure arithmetic of the DP x TP x PP grid. The order of ranks is written here and nowhere else:
// TP innermost (its ranks talk most, so they should share a node), then DP, PP outermost.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cuboid {

struct GridShape {
  int dp = 1;
  int tp = 1;
  int pp = 1;
  [[nodiscard]] int size() const { return dp * tp * pp; }
  bool operator==(const GridShape&) const = default;
};

struct GridCoordinate {
  int dp = 0;
  int tp = 0;
  int pp = 0;
  bool operator==(const GridCoordinate&) const = default;
};

// rank = (pp * DP + dp) * TP + tp
int rank_of(const GridShape& shape, const GridCoordinate& at);
GridCoordinate coordinate_of(const GridShape& shape, int rank);

// "2x1x4" (DP x TP x PP).
std::string to_string(const GridShape& shape);
// "dp 1, tp 0, pp 3"
std::string to_string(const GridCoordinate& at);

// A half-open range of indices.
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  [[nodiscard]] std::int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

// Part `index` of `total` things in `parts` parts as even as can be; the first parts take one more.
Range even_part(std::int64_t total, std::int64_t parts, std::int64_t index);

// Part `index` of `total` things in equal blocks of `block`; the last parts may be short or empty.
Range block_part(std::int64_t total, std::int64_t block, std::int64_t index);

}  // namespace cuboid
