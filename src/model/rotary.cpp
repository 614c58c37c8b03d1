#include "cuboid/model/rotary.hpp"

#include <ATen/ops/empty.h>

#include <cmath>

#include "cuboid/base/error.hpp"
#include "cuboid/kernels/rotary.hpp"

namespace cuboid {

Rotary::Rotary(std::int64_t seq_length, std::int64_t head_dim, double base) {
  require(head_dim % 2 == 0, "rotary embedding turns pairs of dims");
  const std::int64_t half = head_dim / 2;
  cos_ = at::empty({seq_length, half}, at::kDouble);
  sin_ = at::empty({seq_length, half}, at::kDouble);
  auto* cosines = cos_.mutable_data_ptr<double>();
  auto* sines = sin_.mutable_data_ptr<double>();
  for (std::int64_t t = 0; t < seq_length; ++t) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double frequency =
          std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
      const double angle = static_cast<double>(t) * frequency;
      cosines[t * half + i] = std::cos(angle);
      sines[t * half + i] = std::sin(angle);
    }
  }
}

void Rotary::turn_(const at::Tensor& x, bool forwards) const {
  // bf16 turns in fp32 and is rounded once.
  const at::ScalarType type = x.scalar_type() == at::kBFloat16 ? at::kFloat : x.scalar_type();
  if (!cos_in_use_.defined() || cos_in_use_.scalar_type() != type ||
      cos_in_use_.device() != x.device()) {
    cos_in_use_ = cos_.to(x.device(), type);
    sin_in_use_ = sin_.to(x.device(), type);
  }
  ::cuboid::rotate_(x, cos_in_use_, sin_in_use_, forwards);
}

}  // namespace cuboid
