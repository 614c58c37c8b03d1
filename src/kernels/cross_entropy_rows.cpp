#include "cross_entropy_rows.hpp"

#include <limits>
#include <memory>

#include "cuboid/kernels/clones.hpp"
#include "cuboid/kernels/math.hpp"

namespace cuboid::detail {
namespace {

// A row is taken in blocks that stay in the first cache between looking for the maximum and
// summing, so memory is read once; the sum so far is scaled when a block raises the maximum
// (Milakov and Gimelshein, arXiv:1805.02867, by blocks).
constexpr std::int64_t kBlock = 1024;

template <typename W>
constexpr W kNothing = -std::numeric_limits<W>::infinity();

template <typename W>
struct Scan {
  W maximum = kNothing<W>;
  double sum = 0;

  // The maximum becomes that of all blocks so far.
  [[gnu::always_inline]] void raise(W block_maximum) {
    if (!(block_maximum > maximum)) return;
    sum *= static_cast<double>(exp_of_negative(maximum - block_maximum));
    maximum = block_maximum;
  }
  // What is subtracted: where all is -infinity yet, a number, so that exp gives 0 and not NaN.
  [[nodiscard, gnu::always_inline]] W offset() const {
    return maximum == kNothing<W> ? W(0) : maximum;
  }
};

template <typename T>
[[gnu::always_inline]] inline Wide<T> maximum_of(const T* x, std::int64_t count) {
  Wide<T> maximum = kNothing<Wide<T>>;
#pragma omp simd reduction(max : maximum)
  for (std::int64_t i = 0; i < count; ++i) {
    const Wide<T> value = widen(x[i]);
    maximum = value > maximum ? value : maximum;
  }
  return maximum;
}

template <typename T>
[[gnu::always_inline]] inline Scan<Wide<T>> scan(const T* row, std::int64_t count) {
  using W = Wide<T>;
  Scan<W> all;
  for (std::int64_t first = 0; first < count; first += kBlock) {
    const std::int64_t size = std::min(kBlock, count - first);
    const T* block = row + first;
    all.raise(maximum_of(block, size));
    const W maximum = all.offset();
    W sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < size; ++i) sum += exp_of_negative(widen(block[i]) - maximum);
    all.sum += static_cast<double>(sum);
  }
  return all;
}

// The same, and keeps each exp(logit - maximum so far), which may lie in the row's own place, with
// that maximum for each block: what is left to do is one multiplication.
template <typename T>
[[gnu::always_inline]] inline Scan<Wide<T>> scan_and_keep(const T* row, std::int64_t count,
                                                          Wide<T>* exponentials, Wide<T>* maxima) {
  using W = Wide<T>;
  Scan<W> all;
  for (std::int64_t first = 0; first < count; first += kBlock) {
    const std::int64_t size = std::min(kBlock, count - first);
    const T* block = row + first;
    W* kept = exponentials + first;
    all.raise(maximum_of(block, size));
    maxima[first / kBlock] = all.maximum;
    const W maximum = all.offset();
    W sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < size; ++i) {
      const W value = exp_of_negative(widen(block[i]) - maximum);
      kept[i] = value;
      sum += value;
    }
    all.sum += static_cast<double>(sum);
  }
  return all;
}

template <typename T>
[[gnu::always_inline]] inline void scale_row(T* row, std::int64_t count,
                                             const Wide<T>* exponentials, const Wide<T>* maxima,
                                             const Scan<Wide<T>>& all, Wide<T> scale) {
  using W = Wide<T>;
  for (std::int64_t first = 0; first < count; first += kBlock) {
    const std::int64_t size = std::min(kBlock, count - first);
    T* block = row + first;
    const W* kept = exponentials + first;
    const W factor = exp_of_negative(maxima[first / kBlock] - all.maximum) *
                     static_cast<W>(static_cast<double>(scale) / all.sum);
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) block[i] = narrow<T>(kept[i] * factor);
  }
}

}  // namespace

template <typename T>
CUBOID_CLONES void scan_rows(const LogitRows<T>& rows, Wide<T>* maximum, Wide<T>* sum,
                             Wide<T>* target_logit, std::int64_t begin, std::int64_t end) {
  for (std::int64_t token = begin; token < end; ++token) {
    const T* row = rows.logits + token * rows.columns;
    const Scan<Wide<T>> all = scan(row, rows.num_rows);
    maximum[token] = all.maximum;
    sum[token] = static_cast<Wide<T>>(all.sum);
    const std::int64_t target = rows.targets[token] - rows.first_row;
    const bool is_here = target >= 0 && target < rows.num_rows;
    target_logit[token] = is_here ? widen(row[target]) : Wide<T>(0);
  }
}

template <typename T>
CUBOID_CLONES void make_gradient_rows(const LogitRows<T>& rows, const Wide<T>* maximum,
                                      const Wide<T>* sum, Wide<T> scale, std::int64_t begin,
                                      std::int64_t end) {
  using W = Wide<T>;
  for (std::int64_t token = begin; token < end; ++token) {
    T* row = rows.logits + token * rows.columns;
    const W top = maximum[token];
    const W factor = scale / sum[token];
    const std::int64_t target = rows.targets[token] - rows.first_row;
    const bool is_here = target >= 0 && target < rows.num_rows;
    const W of_target = is_here ? exp_of_negative(widen(row[target]) - top) * factor : W(0);
#pragma omp simd
    for (std::int64_t i = 0; i < rows.num_rows; ++i) {
      row[i] = narrow<T>(exp_of_negative(widen(row[i]) - top) * factor);
    }
    if (is_here) row[target] = narrow<T>(of_target - scale);
    std::fill(row + rows.num_rows, row + rows.columns, T(0));
  }
}

template <typename T>
CUBOID_CLONES void lose_rows(const LogitRows<T>& rows, Wide<T> scale, double* losses,
                             std::int64_t begin, std::int64_t end) {
  using W = Wide<T>;
  constexpr bool kInPlace = std::is_same_v<T, W>;
  const auto blocks = static_cast<std::size_t>((rows.num_rows + kBlock - 1) / kBlock);
  std::unique_ptr<W[]> maxima;
  std::unique_ptr<W[]> wide;  // exponentials, where the row has no room for them
  if (scale != 0) {
    maxima = std::make_unique_for_overwrite<W[]>(blocks);
    if (!kInPlace)
      wide = std::make_unique_for_overwrite<W[]>(static_cast<std::size_t>(rows.num_rows));
  }
  for (std::int64_t token = begin; token < end; ++token) {
    T* row = rows.logits + token * rows.columns;
    const std::int64_t target = rows.targets[token];
    const auto target_logit = static_cast<double>(widen(row[target]));
    Scan<W> all;
    if (scale == 0) {
      all = scan(row, rows.num_rows);
    } else {
      W* kept = nullptr;
      if constexpr (kInPlace) {
        kept = row;
      } else {
        kept = wide.get();
      }
      all = scan_and_keep(row, rows.num_rows, kept, maxima.get());
      const W of_target = kept[target] * exp_of_negative(maxima[target / kBlock] - all.maximum) *
                          static_cast<W>(static_cast<double>(scale) / all.sum);
      scale_row(row, rows.num_rows, kept, maxima.get(), all, scale);
      row[target] = narrow<T>(of_target - scale);
      std::fill(row + rows.num_rows, row + rows.columns, T(0));
    }
    losses[token] = std::log(all.sum) + (static_cast<double>(all.maximum) - target_logit);
  }
}

#define CUBOID_INSTANTIATE(T)                                                                    \
  template void scan_rows(const LogitRows<T>&, Wide<T>*, Wide<T>*, Wide<T>*, std::int64_t,       \
                          std::int64_t);                                                         \
  template void make_gradient_rows(const LogitRows<T>&, const Wide<T>*, const Wide<T>*, Wide<T>, \
                                   std::int64_t, std::int64_t);                                  \
  template void lose_rows(const LogitRows<T>&, Wide<T>, double*, std::int64_t, std::int64_t);
CUBOID_INSTANTIATE(float)
CUBOID_INSTANTIATE(Bfloat16)
CUBOID_INSTANTIATE(double)
#undef CUBOID_INSTANTIATE

}  // namespace cuboid::detail
