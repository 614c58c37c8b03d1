// What attention on the host is made of: products of small matrices in vector registers, and
// matrices packed for them. Everything is inlined into a function for one instruction set.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "cuboid/kernels/math.hpp"
#include "transpose.hpp"

namespace cuboid::detail {

// A product is made in tiles of kRows x kColumns vectors, which stay in registers.
struct Avx512 {
  static constexpr int kBytes = 64, kRows = 8, kColumns = 2;
};
struct Avx2 {
  static constexpr int kBytes = 32, kRows = 4, kColumns = 2;
};
struct AnyProcessor {
  static constexpr int kBytes = 16, kRows = 4, kColumns = 2;
};

template <typename Isa, typename W>
struct Vectors {
  using Type [[gnu::vector_size(Isa::kBytes), gnu::may_alias]] = W;
  static constexpr std::int64_t kLanes = Isa::kBytes / sizeof(W);
};

// Sides of packed matrices are multiples of this, of every kRows and of every vector.
constexpr std::int64_t kSide = 16;
constexpr std::int64_t padded(std::int64_t count) {
  return (count + kSide - 1) / kSide * kSide;
}

// A matrix as a product reads it: element (row, step) at data[row * row_stride + step *
// step_stride].
template <typename W>
struct Factor {
  const W* data;
  std::int64_t row_stride, step_stride;
};

// c (+)= a b for kRows rows and `columns` vectors: c [rows, c_stride], b [steps, b_stride].
template <typename Isa, int columns, bool add, typename W>
[[gnu::always_inline]] inline void multiply_tile(const Factor<W>& a, const W* b,
                                                 std::int64_t b_stride, std::int64_t steps, W* c,
                                                 std::int64_t c_stride) {
  using Vector = typename Vectors<Isa, W>::Type;
  constexpr std::int64_t kLanes = Vectors<Isa, W>::kLanes;
  Vector sums[Isa::kRows][columns];
#pragma GCC unroll 8
  for (int r = 0; r < Isa::kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < columns; ++v) {
      const auto* from = reinterpret_cast<const Vector*>(c + r * c_stride + v * kLanes);
      sums[r][v] = add ? *from : Vector{};
    }
  for (std::int64_t k = 0; k < steps; ++k) {
    const W* b_row = b + k * b_stride;
    const W* a_column = a.data + k * a.step_stride;
    Vector row[columns];
#pragma GCC unroll 8
    for (int v = 0; v < columns; ++v) {
      row[v] = *reinterpret_cast<const Vector*>(b_row + v * kLanes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < Isa::kRows; ++r) {
      const W factor = a_column[r * a.row_stride];
#pragma GCC unroll 8
      for (int v = 0; v < columns; ++v) sums[r][v] += factor * row[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Isa::kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < columns; ++v) {
      *reinterpret_cast<Vector*>(c + r * c_stride + v * kLanes) = sums[r][v];
    }
}

// The same over `width` columns, a multiple of the lanes.
template <typename Isa, bool add, typename W>
[[gnu::always_inline]] inline void multiply_rows(const Factor<W>& a, const W* b,
                                                 std::int64_t b_stride, std::int64_t steps, W* c,
                                                 std::int64_t c_stride, std::int64_t width) {
  constexpr std::int64_t kTogether = Isa::kColumns * Vectors<Isa, W>::kLanes;
  std::int64_t j = 0;
  for (; j + kTogether <= width; j += kTogether) {
    multiply_tile<Isa, Isa::kColumns, add>(a, b + j, b_stride, steps, c + j, c_stride);
  }
  if (j < width) multiply_tile<Isa, 1, add>(a, b + j, b_stride, steps, c + j, c_stride);
}

// A head's [count, dim] of T, rows `stride` apart.
template <typename T>
struct Head {
  const T* data;
  std::int64_t stride, count, dim;
};

// A head's rows lie far apart, which processors do not foresee: they are asked for so many ahead.
constexpr std::int64_t kAhead = 8;
template <int write, typename T>
[[gnu::always_inline]] inline void prefetch(const T* row, std::int64_t dim) {
  constexpr std::int64_t kLine = 64 / sizeof(T);
  for (std::int64_t d = 0; d < dim; d += kLine) __builtin_prefetch(row + d, write);
}

// to [padded count, padded dim] = head * scale; zeros beyond.
template <typename T>
[[gnu::always_inline]] inline void pack(const Head<T>& head, Wide<T> scale, Wide<T>* to) {
  const std::int64_t width = padded(head.dim);
  for (std::int64_t t = 0; t < head.count; ++t, to += width) {
    const T* row = head.data + t * head.stride;
    prefetch<0>(row + kAhead * head.stride, head.dim);
#pragma omp simd
    for (std::int64_t d = 0; d < head.dim; ++d) to[d] = widen(row[d]) * scale;
    for (std::int64_t d = head.dim; d < width; ++d) to[d] = 0;
  }
  std::fill(to, to + (padded(head.count) - head.count) * width, Wide<T>(0));
}

// to [columns, rows] = the transpose of from [rows, columns], both multiples of kSide.
template <typename W>
[[gnu::always_inline]] inline void transpose(const W* from, std::int64_t rows, std::int64_t columns,
                                             W* to) {
  for (std::int64_t i = 0; i < rows; i += 8)
    for (std::int64_t j = 0; j < columns; j += 8) {
      const W* corner = from + i * columns + j;
      W* turned = to + j * rows + i;
      if constexpr (std::is_same_v<W, float>) {
        transpose_8x8(corner, columns, turned, rows);
      } else {
        for (std::int64_t x = 0; x < 8; ++x)
          for (std::int64_t y = 0; y < 8; ++y) turned[x * rows + y] = corner[y * columns + x];
      }
    }
}

// row [0, count) of scores: what lies at `valid` or beyond becomes -infinity. count is a multiple
// of the lanes.
template <typename Isa, typename W>
[[gnu::always_inline]] inline void mask_from(W* row, std::int64_t valid, std::int64_t count) {
  using Vector = typename Vectors<Isa, W>::Type;
  constexpr std::int64_t kLanes = Vectors<Isa, W>::kLanes;
  Vector lane;
  for (std::int64_t i = 0; i < kLanes; ++i) lane[i] = static_cast<W>(i);
  const Vector nothing = Vector{} - std::numeric_limits<W>::infinity();
  for (std::int64_t j = valid / kLanes * kLanes; j < count; j += kLanes) {
    auto* scores = reinterpret_cast<Vector*>(row + j);
    *scores = lane < Vector{} + static_cast<W>(valid - j) ? *scores : nothing;
  }
}

}  // namespace cuboid::detail
