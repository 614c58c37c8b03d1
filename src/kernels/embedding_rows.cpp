#include "embedding_rows.hpp"

#include <algorithm>

#include "cuboid/kernels/clones.hpp"

namespace cuboid::detail {

template <typename T>
CUBOID_CLONES void look_up(const TableRows& rows, const T* table, const T* positions,
                           std::int64_t seq, T* y, std::int64_t begin, std::int64_t end) {
  const std::int64_t width = rows.width;
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t row = rows.row_of(i);
    const T* from = row < 0 ? nullptr : table + row * width;
    const T* position = positions == nullptr ? nullptr : positions + i % seq * width;
    T* to = y + i * width;
    if (from != nullptr && position != nullptr) {
#pragma omp simd
      for (std::int64_t c = 0; c < width; ++c) {
        to[c] = narrow<T>(widen(from[c]) + widen(position[c]));
      }
    } else if (from != nullptr || position != nullptr) {
      std::copy_n(from != nullptr ? from : position, width, to);
    } else {
      std::fill_n(to, width, T());
    }
  }
}

template <typename T>
CUBOID_CLONES void add_columns(const TableRows& rows, const T* dy, std::int64_t num_tokens,
                               Wide<T>* gradient, std::int64_t first, std::int64_t last) {
  for (std::int64_t i = 0; i < num_tokens; ++i) {
    const std::int64_t row = rows.row_of(i);
    if (row < 0) continue;
    Wide<T>* to = gradient + row * rows.width;
    const T* from = dy + i * rows.width;
#pragma omp simd
    for (std::int64_t c = first; c < last; ++c) to[c] += widen(from[c]);
  }
}

template <typename T>
CUBOID_CLONES void sum_sequences(const T* dy, std::int64_t sequences, std::int64_t seq,
                                 std::int64_t width, Wide<T>* gradient, bool accumulate,
                                 std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t kColumns = 256;  // whose sums stay in the first cache
  Wide<T> sums[kColumns];
  for (std::int64_t t = begin; t < end; ++t) {
    for (std::int64_t first = 0; first < width; first += kColumns) {
      const std::int64_t columns = std::min(kColumns, width - first);
      const T* from = dy + t * width + first;
#pragma omp simd
      for (std::int64_t c = 0; c < columns; ++c) sums[c] = widen(from[c]);
      for (std::int64_t s = 1; s < sequences; ++s) {
        from += seq * width;
#pragma omp simd
        for (std::int64_t c = 0; c < columns; ++c) sums[c] += widen(from[c]);
      }
      Wide<T>* to = gradient + t * width + first;
      if (accumulate) {
#pragma omp simd
        for (std::int64_t c = 0; c < columns; ++c) to[c] += sums[c];
      } else {
        std::copy_n(sums, columns, to);
      }
    }
  }
}

#define CUBOID_INSTANTIATE(T)                                                                     \
  template void look_up(const TableRows&, const T*, const T*, std::int64_t, T*, std::int64_t,     \
                        std::int64_t);                                                            \
  template void add_columns(const TableRows&, const T*, std::int64_t, Wide<T>*, std::int64_t,     \
                            std::int64_t);                                                        \
  template void sum_sequences(const T*, std::int64_t, std::int64_t, std::int64_t, Wide<T>*, bool, \
                              std::int64_t, std::int64_t);
CUBOID_INSTANTIATE(float)
CUBOID_INSTANTIATE(Bfloat16)
CUBOID_INSTANTIATE(double)
#undef CUBOID_INSTANTIATE

}  // namespace cuboid::detail
