// Small matrices turned in vector registers; inlined into functions for one instruction set.
#pragma once

#include <cstdint>

namespace cuboid::detail {

// A vector in memory at any address. By reference, since a function that returns vectors must be
// compiled for them.
template <typename Vector>
[[gnu::always_inline]] inline void load(Vector& x, const float* from) {
  __builtin_memcpy(&x, from, sizeof(x));
}
template <typename Vector>
[[gnu::always_inline]] inline void store(const Vector& x, float* to) {
  __builtin_memcpy(to, &x, sizeof(x));
}

// 8 x 8 numbers: to[j][i] = from[i][j], rows that many apart.
[[gnu::always_inline]] inline void transpose_8x8(const float* from, std::int64_t from_stride,
                                                 float* to, std::int64_t to_stride) {
  using Row [[gnu::vector_size(32)]] = float;
  Row pairs[8];
  Row fours[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    Row first;
    Row second;
    load(first, from + i * from_stride);
    load(second, from + (i + 1) * from_stride);
    pairs[i] = __builtin_shufflevector(first, second, 0, 8, 1, 9, 4, 12, 5, 13);
    pairs[i + 1] = __builtin_shufflevector(first, second, 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4)
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      fours[i + 2 * j] =
          __builtin_shufflevector(pairs[i + j], pairs[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      fours[i + 2 * j + 1] =
          __builtin_shufflevector(pairs[i + j], pairs[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    store(__builtin_shufflevector(fours[j], fours[j + 4], 0, 1, 2, 3, 8, 9, 10, 11),
          to + j * to_stride);
    store(__builtin_shufflevector(fours[j], fours[j + 4], 4, 5, 6, 7, 12, 13, 14, 15),
          to + (j + 4) * to_stride);
  }
}

}  // namespace cuboid::detail
