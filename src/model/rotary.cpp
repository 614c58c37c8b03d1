#include "cuboid/model/rotary.hpp"

#include <ATen/ops/empty.h>

#include <cmath>

#include "cuboid/base/error.hpp"
#include "cuboid/kernels/rotary.hpp"

namespace cuboid {
namespace {

template <typename T>
void fill(const at::Tensor& cos, const at::Tensor& sin, double base) {
  const std::int64_t half = cos.size(1);
  auto* cosines = cos.mutable_data_ptr<T>();
  auto* sines = sin.mutable_data_ptr<T>();
  for (std::int64_t i = 0; i < half; ++i) {
    const double frequency =
        std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(2 * half));
    for (std::int64_t t = 0; t < cos.size(0); ++t) {
      const double angle = static_cast<double>(t) * frequency;
      cosines[t * half + i] = static_cast<T>(std::cos(angle));
      sines[t * half + i] = static_cast<T>(std::sin(angle));
    }
  }
}

}  // namespace

Rotary::Rotary(std::int64_t seq_length, std::int64_t head_dim, double base,
               const at::TensorOptions& options) {
  require(head_dim % 2 == 0, "rotary embedding turns pairs of dims");
  // bf16 turns in fp32 and is rounded once.
  const bool is_double = options.dtype() == at::kDouble;
  const at::ScalarType type = is_double ? at::kDouble : at::kFloat;
  cos_ = at::empty({seq_length, head_dim / 2}, type);
  sin_ = at::empty({seq_length, head_dim / 2}, type);
  is_double ? fill<double>(cos_, sin_, base) : fill<float>(cos_, sin_, base);
  cos_ = cos_.to(options.device());
  sin_ = sin_.to(options.device());
}

void Rotary::turn_(const at::Tensor& x, bool forwards) const {
  ::cuboid::rotate_(x, cos_, sin_, forwards);
}

std::shared_ptr<const Rotary> make_rotary(const ModelConfig& model,
                                          const at::TensorOptions& options) {
  if (model.position_embedding != PositionEmbedding::kRope) return nullptr;
  return std::make_shared<const Rotary>(model.seq_length, model.head_dim(), model.rotary_base,
                                        options);
}

}  // namespace cuboid
