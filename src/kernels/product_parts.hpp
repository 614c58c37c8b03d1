// How a product is shared out among threads; pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace cuboid::detail {

constexpr std::int64_t tiles(std::int64_t count, std::int64_t size) {
  return (count + size - 1) / size;
}

// Threads that so many multiplications are worth: starting one takes as long as some 100,000.
inline int threads_for(std::int64_t multiplications, int most) {
  constexpr std::int64_t kOfAThread = 1 << 19;
  return static_cast<int>(std::clamp<std::int64_t>(multiplications / kOfAThread, 1, most));
}

struct Range {
  std::int64_t begin, end;
};
// Rows and columns of the result that one thread makes, whole tiles but at the matrix's end.
struct Part {
  Range rows, columns;
};

// The result is cut into rows x columns parts. Each thread packs what its part needs by itself, so
// threads never wait for each other before the end; what several of them pack is the price of a
// cut.
class Parts {
 public:
  struct TileSize {
    std::int64_t rows, columns;
  };

  // The cheapest cut for at most `threads` of them. packs_rows: left factors are packed, too.
  Parts(std::int64_t m, std::int64_t n, TileSize tile, bool packs_rows, int threads)
      : m_(m), n_(n), tile_(tile) {
    // In multiplications a step: packing a number takes as long as several of them.
    constexpr std::int64_t kPackColumn = 7;
    constexpr std::int64_t kPackRow = 10;
    const std::int64_t row_tiles = tiles(m, tile.rows);
    const std::int64_t column_tiles = tiles(n, tile.columns);
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (std::int64_t columns = 1; columns <= std::min<std::int64_t>(threads, column_tiles);
         ++columns) {
      const std::int64_t rows = std::min<std::int64_t>(threads / columns, row_tiles);
      const std::int64_t most_rows = tiles(row_tiles, rows) * tile.rows;
      const std::int64_t most_columns = tiles(column_tiles, columns) * tile.columns;
      const std::int64_t cost = most_rows * most_columns + kPackColumn * most_columns +
                                (packs_rows ? kPackRow * most_rows : 0);
      if (cost >= least) continue;
      least = cost;
      rows_ = rows;
      columns_ = columns;
    }
  }

  [[nodiscard]] int count() const { return static_cast<int>(rows_ * columns_); }
  [[nodiscard]] Part part(int index) const {
    return {share(m_, tile_.rows, rows_, index % rows_),
            share(n_, tile_.columns, columns_, index / rows_)};
  }

 private:
  // Whole tiles, as even as they go.
  static Range share(std::int64_t count, std::int64_t tile, std::int64_t parts,
                     std::int64_t index) {
    const std::int64_t all = tiles(count, tile);
    return {std::min(count, all * index / parts * tile),
            std::min(count, all * (index + 1) / parts * tile)};
  }

  std::int64_t m_, n_;
  TileSize tile_;
  std::int64_t rows_ = 1, columns_ = 1;
};

}  // namespace cuboid::detail
