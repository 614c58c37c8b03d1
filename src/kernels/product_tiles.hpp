// What products on the host are made of: tiles in vector registers, and factors packed for them.
// Everything is inlined into a function for one instruction set.
#pragma once

#include <algorithm>
#include <cstdint>

#include "product_blocks.hpp"
#include "transpose.hpp"

namespace cuboid::detail {

// A tile of c is kRows x kVectors vectors, which stay in registers for all steps of a block.
struct ProductAvx512 {
  static constexpr int kBytes = 64, kRows = 12, kVectors = 2;
};
struct ProductAvx2 {
  static constexpr int kBytes = 32, kRows = 6, kVectors = 2;
};
struct ProductAny {
  static constexpr int kBytes = 16, kRows = 6, kVectors = 2;
};

template <typename Isa>
struct Tile {
  using Vector [[gnu::vector_size(Isa::kBytes), gnu::may_alias]] = float;
  static constexpr int kLanes = Isa::kBytes / 4;
  static constexpr int kColumns = Isa::kVectors * kLanes;
};

// Steps of a block: so many rows of a tile's columns fit the first-level cache.
constexpr std::int64_t kSteps = 256;

// What the tile's sums are added to.
enum class Start : unsigned char { kZero, kBias, kSum };

// The rows of a that a tile multiplies: element (row, step) at data[row * row_stride + step *
// step_stride].
struct TileRows {
  const float* data;
  std::int64_t row_stride, step_stride;
};

// c [kRows, kColumns], rows c_stride apart, = a b + start; b [steps, kColumns].
template <typename Isa, Start start>
[[gnu::always_inline]] inline void multiply_tile(const TileRows& a, const float* b,
                                                 std::int64_t steps, const float* bias, float* c,
                                                 std::int64_t c_stride) {
  using Vector = typename Tile<Isa>::Vector;
  constexpr int kLanes = Tile<Isa>::kLanes;
  Vector sums[Isa::kRows][Isa::kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < Isa::kRows; ++r) {
    // The sums of the blocks before arrive while this one is multiplied.
    if constexpr (start == Start::kSum) __builtin_prefetch(c + r * c_stride, 1);
#pragma GCC unroll 4
    for (int v = 0; v < Isa::kVectors; ++v) {
      sums[r][v] = Vector{};
      if constexpr (start == Start::kBias) load(sums[r][v], bias + v * kLanes);
    }
  }
  for (std::int64_t k = 0; k < steps; ++k) {
    Vector row[Isa::kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < Isa::kVectors; ++v)
      row[v] = *reinterpret_cast<const Vector*>(b + k * Tile<Isa>::kColumns + v * kLanes);
    const float* column = a.data + k * a.step_stride;
#pragma GCC unroll 16
    for (int r = 0; r < Isa::kRows; ++r) {
      const float factor = column[r * a.row_stride];
#pragma GCC unroll 4
      for (int v = 0; v < Isa::kVectors; ++v) sums[r][v] += factor * row[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Isa::kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Isa::kVectors; ++v) {
      float* to = c + r * c_stride + v * kLanes;
      if constexpr (start == Start::kSum) {
        Vector before;
        load(before, to);
        sums[r][v] += before;
      }
      store(sums[r][v], to);
    }
}

// Eight columns of b, each in order of memory, over the first `steps` / 8 * 8 rows.
template <typename Isa>
[[gnu::always_inline]] inline void pack_eight(const float* columns, std::int64_t stride,
                                              std::int64_t steps, float* to) {
  for (std::int64_t k = 0; k + 8 <= steps; k += 8)
    transpose_8x8(columns + k, stride, to + k * Tile<Isa>::kColumns, Tile<Isa>::kColumns);
}

// Columns [0, valid) of b over `steps` <= kSteps rows as a tile reads them: to [steps, kColumns],
// zeros beyond.
template <typename Isa, typename T>
[[gnu::always_inline]] inline void pack_columns(const MatrixView<T>& b, std::int64_t steps,
                                                std::int64_t valid, float* to) {
  constexpr std::int64_t kColumns = Tile<Isa>::kColumns;
  std::int64_t k = 0;
  if (valid == kColumns && b.column_stride == 1) {
    for (; k < steps; ++k)
#pragma GCC unroll 32
      for (std::int64_t j = 0; j < kColumns; ++j)
        to[k * kColumns + j] = widen(b.data[k * b.row_stride + j]);
  } else if (valid == kColumns && b.row_stride == 1) {
    for (std::int64_t j = 0; j < kColumns; j += 8) {
      const T* columns = b.data + j * b.column_stride;
      if constexpr (std::is_same_v<T, float>) {
        pack_eight<Isa>(columns, b.column_stride, steps, to + j);
      } else {
        float wide[8 * kSteps];
        for (std::int64_t i = 0; i < 8; ++i)
#pragma omp simd
          for (std::int64_t s = 0; s < steps; ++s)
            wide[i * kSteps + s] = widen(columns[i * b.column_stride + s]);
        pack_eight<Isa>(wide, kSteps, steps, to + j);
      }
    }
    k = steps / 8 * 8;
  }
  for (; k < steps; ++k)
    for (std::int64_t j = 0; j < kColumns; ++j)
      to[k * kColumns + j] =
          j < valid ? widen(b.data[k * b.row_stride + j * b.column_stride]) : 0.0F;
}

// `count` numbers, a multiple of 8.
template <std::int64_t count>
[[gnu::always_inline]] inline void widen_row(const float* from, float* to) {
  using Eight [[gnu::vector_size(32)]] = float;
#pragma GCC unroll 2
  for (std::int64_t r = 0; r < count; r += 8) {
    Eight x;
    load(x, from + r);
    store(x, to + r);
  }
}
template <std::int64_t count>
[[gnu::always_inline]] inline void widen_row(const Bfloat16* from, float* to) {
#pragma omp simd
  for (std::int64_t r = 0; r < count; ++r) to[r] = widen(from[r]);
}

// Rows [0, valid) of a over `steps` columns, zeros up to a multiple of kRows.
// With rows in order of memory: to [rows, steps], as they are.
template <typename Isa, typename T>
[[gnu::always_inline]] inline void pack_rows(const MatrixView<T>& a, std::int64_t steps,
                                             std::int64_t valid, float* to) {
  for (std::int64_t i = 0; i < valid; ++i)
#pragma omp simd
    for (std::int64_t k = 0; k < steps; ++k)
      to[i * steps + k] = widen(a.data[i * a.row_stride + k]);
  const std::int64_t rest = (Isa::kRows - valid % Isa::kRows) % Isa::kRows;
  std::fill(to + valid * steps, to + (valid + rest) * steps, 0.0F);
}
// With columns in order of memory: to [tiles, steps, kRows]. `readable` elements of each column lie
// in memory, those beyond `valid` of other rows.
template <typename Isa, typename T>
[[gnu::always_inline]] inline void pack_rows_transposed(const MatrixView<T>& a, std::int64_t steps,
                                                        std::int64_t valid, std::int64_t readable,
                                                        float* to) {
  constexpr std::int64_t kRows = Isa::kRows;
  constexpr std::int64_t kTogether = (kRows + 7) / 8 * 8;
  // Whole vectors: what is written too much belongs to the next step, which overwrites it.
  std::int64_t whole = 0;
  while (whole + kTogether <= readable && whole + kRows <= valid) whole += kRows;
  for (std::int64_t k = 0; k + 1 < steps; ++k) {
    const T* from = a.data + k * a.column_stride;
    float* tile = to + k * kRows;
    for (std::int64_t i = 0; i < whole; i += kRows, tile += steps * kRows)
      widen_row<kTogether>(from + i, tile);
  }
  for (std::int64_t i = 0; i < valid; i += kRows)
    for (std::int64_t k = i < whole ? steps - 1 : 0; k < steps; ++k)
      for (std::int64_t r = 0; r < kRows; ++r)
        to[i * steps + k * kRows + r] =
            i + r < valid ? widen(a.data[k * a.column_stride + i + r]) : 0.0F;
}

}  // namespace cuboid::detail
