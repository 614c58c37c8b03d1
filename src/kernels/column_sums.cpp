#include <ATen/ops/empty.h>

#include "cuboid/kernels/activation.hpp"
#include "cuboid/kernels/clones.hpp"
#include "host.hpp"
#include "on_device.hpp"

namespace cuboid {
namespace detail {
namespace {

// Small enough for the caches and for the threads to share out, and not so many that adding them up
// is work. Multiples of the rows that kernels take at a time.
std::int64_t rows_of_block(std::int64_t rows) {
  constexpr std::int64_t kMinRows = 64;
  constexpr std::int64_t kMaxBlocks = 64;
  constexpr std::int64_t kTogether = 4;
  const std::int64_t even = (rows + kMaxBlocks - 1) / kMaxBlocks;
  return std::max(kMinRows, (even + kTogether - 1) / kTogether * kTogether);
}

// to[c] (+)= sum over blocks of from[block * stride + c]
template <typename W>
CUBOID_CLONES void add_blocks(const W* from, std::int64_t num_blocks, std::int64_t stride, W* to,
                              std::int64_t count, bool accumulate) {
  std::int64_t block = 0;
  if (!accumulate) {
    std::copy(from, from + count, to);
    block = 1;
  }
  for (; block < num_blocks; ++block) {
    const W* row = from + block * stride;
#pragma omp simd
    for (std::int64_t c = 0; c < count; ++c) to[c] += row[c];
  }
}

template <typename T>
CUBOID_CLONES void sum_rows(const T* x, std::int64_t rows, std::int64_t width, Wide<T>* sums) {
#pragma omp simd
  for (std::int64_t c = 0; c < width; ++c) sums[c] = widen(x[c]);
  std::int64_t row = 1;
  for (; row + 4 <= rows; row += 4) {
    const T* a = x + row * width;
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c)
      sums[c] +=
          (widen(a[c]) + widen(a[c + width])) + (widen(a[c + 2 * width]) + widen(a[c + 3 * width]));
  }
  for (; row < rows; ++row) {
    const T* a = x + row * width;
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) sums[c] += widen(a[c]);
  }
}

}  // namespace

ColumnSums::ColumnSums(std::int64_t rows, std::int64_t columns, at::ScalarType type)
    : rows_(rows),
      columns_(columns),
      block_rows_(rows_of_block(rows)),
      num_blocks_((rows + block_rows_ - 1) / block_rows_),
      partial_(at::empty({num_blocks_, columns}, type == at::kDouble ? at::kDouble : at::kFloat)) {}

void ColumnSums::deliver(std::int64_t first, const GradientTarget& target) const {
  const at::Tensor& to = target.gradient;
  if (!to.defined()) return;
  if (num_blocks_ == 0) {
    if (!target.accumulate) to.zero_();
    return;
  }
  const auto add = [&]<typename W>(W* out) {
    // Columns are shared out: each is added up by one thread.
    constexpr std::int64_t kTile = 512;
    const std::int64_t grain = std::max<std::int64_t>(1, grain_rows(num_blocks_) / kTile);
    const std::int64_t count = to.numel();
    at::parallel_for(0, (count + kTile - 1) / kTile, grain,
                     [&](std::int64_t begin, std::int64_t end) {
                       const std::int64_t at = begin * kTile;
                       add_blocks(of_block<W>(0) + first + at, num_blocks_, columns_, out + at,
                                  std::min(count, end * kTile) - at, target.accumulate);
                     });
  };
  partial_.scalar_type() == at::kDouble ? add(mutable_data<double>(to))
                                        : add(mutable_data<float>(to));
}

}  // namespace detail

void add_column_sums(const at::Tensor& x, const GradientTarget& target) {
  using namespace detail;
  if (!target.gradient.defined()) return;
  if (!x.is_cpu()) return add_column_sums_on_device(x, target);
  const std::int64_t width = x.size(1);
  require(target.gradient.numel() == width, "a target takes every column");
  const ColumnSums sums(x.size(0), width, x.scalar_type());
  for_type(x, [&]<typename T>() {
    const T* from = data<T>(x);
    sums.for_blocks([&](std::int64_t block) {
      sum_rows(from + sums.begin(block) * width, sums.end(block) - sums.begin(block), width,
               sums.of_block<Wide<T>>(block));
    });
  });
  sums.deliver(0, target);
}

}  // namespace cuboid
