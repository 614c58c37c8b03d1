#include "cuboid/optimizer/gradient_norm.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cuboid/base/error.hpp"
#include "cuboid/kernels/squares.hpp"
#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid {
namespace {

// Elements of one partial sum: fixed, so that the result does not depend on the number of threads.
constexpr std::int64_t kBlock = 32768;

// Without FMA, which avx2 alone does not bring: the same bits on every processor.
template <typename T>
[[gnu::target_clones("avx2", "default")]] double block_sum(const T* values, std::int64_t count) {
  // Independent sums, so that the compiler may use vector registers without reordering any.
  constexpr std::int64_t kLanes = 32;
  double lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + lane];
      lanes[lane] += value * value;
    }
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  for (; i < count; ++i) sum += static_cast<double>(values[i]) * values[i];
  return sum;
}

template <typename T>
double host_sum(const T* values, std::int64_t count) {
  const std::int64_t blocks = (count + kBlock - 1) / kBlock;
  std::vector<double> sums(static_cast<std::size_t>(blocks));
  at::parallel_for(0, blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t first = block * kBlock;
      sums[static_cast<std::size_t>(block)] =
          block_sum(values + first, std::min(kBlock, count - first));
    }
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

// What this rank does not count, in the order of the flat gradients.
std::vector<Range> excluded_ranges(const WeightStore& store, int tp_rank) {
  std::vector<Range> excluded;
  for (const auto& weight : store.weights()) {
    if (weight->gradient_only || weight->count() == 0) continue;
    const std::int64_t row_size = weight->count() / weight->shape[0];
    std::int64_t rows = 0;
    for (const LogicalParameter& part : weight->parts) {
      rows = part.row_begin + part.local_rows();
      if (!part.is_copy && (part.shard_dim >= 0 || tp_rank == 0)) continue;
      excluded.push_back(
          {weight->offset + part.row_begin * row_size, weight->offset + rows * row_size});
    }
    // Padding rows follow the last part.
    excluded.push_back({weight->offset + rows * row_size, weight->offset + weight->count()});
  }
  std::sort(excluded.begin(), excluded.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  return excluded;
}

// What is left of the values. That takes in the few elements between weights that align them, which
// are zero always, and so joins neighbours to long runs.
std::vector<Range> counted_ranges(const WeightStore& store, int tp_rank) {
  std::vector<Range> counted;
  std::int64_t next = 0;
  for (const Range& range : excluded_ranges(store, tp_rank)) {
    if (range.size() == 0) continue;
    if (range.begin > next) counted.push_back({next, range.begin});
    next = range.end;
  }
  if (store.num_values() > next) counted.push_back({next, store.num_values()});
  return counted;
}

}  // namespace

GradientNorm::GradientNorm(const WeightStore& store, Communicator& model_parallel, int tp_rank)
    : store_(store), model_parallel_(model_parallel), counted_(counted_ranges(store, tp_rank)) {}

at::Tensor GradientNorm::gather() const {
  const at::Tensor mine = sum_of_squares(store_.gradients(), counted_);
  // Gathered and added in rank order here: what order an all-reduce adds in is the library's to
  // choose, and replicas that differed in the last bit would drift apart.
  at::Tensor gathered = at::empty({model_parallel_.size()}, mine.options());
  model_parallel_.all_gather(buffer_of(mine), buffer_of(gathered));
  return gathered;
}

double GradientNorm::norm_of(std::span<const double> squares) {
  return std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0));
}

double GradientNorm::compute() const {
  const at::Tensor squares = gather().cpu();
  return norm_of({squares.const_data_ptr<double>(), static_cast<std::size_t>(squares.numel())});
}

at::Tensor sum_of_squares(const at::Tensor& flat, std::span<const Range> ranges) {
  require(flat.dim() == 1 && flat.is_contiguous(), "squares are summed over flat memory");
  const auto options = flat.options().dtype(at::kDouble);
  if (ranges.empty()) return at::zeros({1}, options);
  if (!flat.is_cpu()) return sum_of_squares_on_device(flat, ranges);
  double sum = 0;
  for (const Range& range : ranges) {
    sum += flat.scalar_type() == at::kDouble
               ? host_sum(flat.const_data_ptr<double>() + range.begin, range.size())
               : host_sum(flat.const_data_ptr<float>() + range.begin, range.size());
  }
  return at::full({1}, sum, options);
}

double clip_factor(double norm, double max_norm) {
  if (max_norm == 0.0) return 1.0;
  const double factor = max_norm / (norm + 1e-6);
  return factor > 1.0 ? 1.0 : factor;  // NaN stays NaN
}

}  // namespace cuboid
