// Cross entropy on the host, rows [begin, end) of contiguous logits; src/kernels/cross_entropy.cpp
// divides rows over threads.
#pragma once

#include <cstdint>

#include "cuboid/kernels/math.hpp"

namespace cuboid::detail {

template <typename T>
struct LogitRows {
  T* logits;
  const std::int64_t* targets;
  std::int64_t columns;  // with padding
  std::int64_t first_row, num_rows;
};

template <typename T>
void scan_rows(const LogitRows<T>& rows, Wide<T>* maximum, Wide<T>* sum, Wide<T>* target_logit,
               std::int64_t begin, std::int64_t end);

template <typename T>
void make_gradient_rows(const LogitRows<T>& rows, const Wide<T>* maximum, const Wide<T>* sum,
                        Wide<T> scale, std::int64_t begin, std::int64_t end);

// losses [tokens]; scale 0: no gradient.
template <typename T>
void lose_rows(const LogitRows<T>& rows, Wide<T> scale, double* losses, std::int64_t begin,
               std::int64_t end);

}  // namespace cuboid::detail
