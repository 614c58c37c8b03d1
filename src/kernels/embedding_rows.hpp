// Embeddings on the host; src/kernels/embedding.cpp divides the work over threads.
#pragma once

#include <cstdint>

#include "cuboid/kernels/math.hpp"

namespace cuboid::detail {

// Which rows of a table tokens mean.
struct TableRows {
  const std::int64_t* tokens;
  std::int64_t first_row, num_rows, width;
  // -1: none of this table's
  [[nodiscard]] std::int64_t row_of(std::int64_t i) const {
    const std::int64_t row = tokens[i] - first_row;
    return row >= 0 && row < num_rows ? row : -1;
  }
};

// y[i] for i in [begin, end); positions [seq, width] or null.
template <typename T>
void look_up(const TableRows& rows, const T* table, const T* positions, std::int64_t seq, T* y,
             std::int64_t begin, std::int64_t end);

// All tokens, columns [first, last) of each.
template <typename T>
void add_columns(const TableRows& rows, const T* dy, std::int64_t num_tokens, Wide<T>* gradient,
                 std::int64_t first, std::int64_t last);

// Positions [begin, end).
template <typename T>
void sum_sequences(const T* dy, std::int64_t sequences, std::int64_t seq, std::int64_t width,
                   Wide<T>* gradient, bool accumulate, std::int64_t begin, std::int64_t end);

}  // namespace cuboid::detail
