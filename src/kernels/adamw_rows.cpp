#include "adamw_rows.hpp"

#include "cuboid/kernels/clones.hpp"

namespace cuboid::detail {

template <typename W>
CUBOID_CLONES void adamw_range(const AdamWBuffers<W>& buffers, const AdamWNumbers<W>& numbers,
                               W keep, std::int64_t begin, std::int64_t end) {
  const AdamWNumbers<W> n = numbers;
  W* master = buffers.master;
  const W* gradient = buffers.gradient;
  W* exp_avg = buffers.exp_avg;
  W* exp_avg_sq = buffers.exp_avg_sq;
  Bfloat16* values = buffers.values;
  // Blocks in the first cache: the loop over elements stays one that needs no branch, and the bf16
  // copy reads what was just written.
  constexpr std::int64_t kBlock = 1024;
  for (std::int64_t first = begin; first < end; first += kBlock) {
    const std::int64_t last = first + kBlock < end ? first + kBlock : end;
#pragma omp simd
    for (std::int64_t i = first; i < last; ++i) {
      const W g = gradient[i] * n.gradient_scale;
      const W m = exp_avg[i] + n.one_minus_beta1 * (g - exp_avg[i]);
      const W v = n.beta2 * exp_avg_sq[i] + n.one_minus_beta2 * g * g;
      exp_avg[i] = m;
      exp_avg_sq[i] = v;
      master[i] = master[i] * keep - n.step_size * m / (std::sqrt(v) * n.root_scale + n.epsilon);
    }
    if (values == nullptr) continue;
#pragma omp simd
    for (std::int64_t i = first; i < last; ++i) values[i] = narrow<Bfloat16>(master[i]);
  }
}

template void adamw_range(const AdamWBuffers<float>&, const AdamWNumbers<float>&, float,
                          std::int64_t, std::int64_t);
template void adamw_range(const AdamWBuffers<double>&, const AdamWNumbers<double>&, double,
                          std::int64_t, std::int64_t);

}  // namespace cuboid::detail
