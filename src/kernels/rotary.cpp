#include "cuboid/kernels/rotary.hpp"

#include <ATen/TensorOperators.h>

#include "cuboid/kernels/clones.hpp"
#include "host.hpp"
#include "on_device.hpp"

namespace cuboid {
namespace {

// One head at one position: dims [0, half) turn with [half, 2 half).
struct Heads {
  std::int64_t seq, heads, half;
  std::int64_t sequence_stride, position_stride, head_stride;
};

template <typename T>
CUBOID_CLONES void turn(T* x, const Heads& heads, const detail::Wide<T>* cos,
                        const detail::Wide<T>* sin, detail::Wide<T> sign, std::int64_t begin,
                        std::int64_t end) {
  using W = detail::Wide<T>;
  for (std::int64_t token = begin; token < end; ++token) {
    const std::int64_t position = token % heads.seq;
    T* of_token = x + token / heads.seq * heads.sequence_stride + position * heads.position_stride;
    const W* c = cos + position * heads.half;
    const W* s = sin + position * heads.half;
    for (std::int64_t head = 0; head < heads.heads; ++head) {
      T* first = of_token + head * heads.head_stride;
      T* second = first + heads.half;
#pragma omp simd
      for (std::int64_t i = 0; i < heads.half; ++i) {
        const W a = detail::widen(first[i]);
        const W b = detail::widen(second[i]);
        const W turn_by = sign * s[i];
        first[i] = detail::narrow<T>(a * c[i] - b * turn_by);
        second[i] = detail::narrow<T>(b * c[i] + a * turn_by);
      }
    }
  }
}

void composed_rotate_(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                      bool forwards) {
  const std::int64_t half = x.size(-1) / 2;
  const at::Tensor c = cos.unsqueeze(1);
  const at::Tensor s = sin.unsqueeze(1);
  const at::Tensor first = x.narrow(-1, 0, half);
  const at::Tensor second = x.narrow(-1, half, half);
  const at::Tensor cross_first = second * s;
  const at::Tensor cross_second = first * s;
  const at::Tensor straight_first = first * c;
  const at::Tensor straight_second = second * c;
  const double sign = forwards ? 1.0 : -1.0;
  first.copy_(straight_first.sub_(cross_first, sign));
  second.copy_(straight_second.add_(cross_second, sign));
}

}  // namespace

void rotate_(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool forwards) {
  require(
      x.dim() == 4 && x.stride(3) == 1 && x.size(3) == 2 * cos.size(1) && x.size(1) == cos.size(0),
      "heads of the positions and the width that were prepared");
  if (x.is_cuda()) {
    if (!detail::rotate_on_device_(x, cos, sin, forwards)) {
      composed_rotate_(x, cos, sin, forwards);
    }
    return;
  }
  const Heads heads{.seq = x.size(1),
                    .heads = x.size(2),
                    .half = x.size(3) / 2,
                    .sequence_stride = x.stride(0),
                    .position_stride = x.stride(1),
                    .head_stride = x.stride(2)};
  detail::for_type(x, [&]<typename T>() {
    using W = detail::Wide<T>;
    auto* values = static_cast<T*>(x.mutable_data_ptr());
    const auto* c = detail::data<W>(cos);
    const auto* s = detail::data<W>(sin);
    at::parallel_for(0, x.size(0) * x.size(1), detail::grain_rows(x.size(2) * x.size(3)),
                     [&](std::int64_t begin, std::int64_t end) {
                       turn(values, heads, c, s, W(forwards ? 1 : -1), begin, end);
                     });
  });
}

}  // namespace cuboid
