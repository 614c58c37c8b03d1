#include "cuboid/model/initialize.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <array>
#include <cmath>
#include <numbers>

#include "cuboid/base/philox.hpp"

namespace cuboid {
namespace {

// Standard normal values 4 * block ... 4 * block + 3 of a stream.
std::array<float, 4> normal_block(std::uint64_t seed, std::uint64_t stream, std::int64_t block) {
  const PhiloxBlock random = philox(seed, stream, static_cast<std::uint64_t>(block));
  std::array<float, 4> z{};
  for (std::size_t pair = 0; pair < 2; ++pair) {
    const float radius = std::sqrt(-2.0F * std::log(uniform_of(random.word[2 * pair])));
    const float angle = 2.0F * std::numbers::pi_v<float> * uniform_of(random.word[2 * pair + 1]);
    z[2 * pair] = radius * std::cos(angle);
    z[2 * pair + 1] = radius * std::sin(angle);
  }
  return z;
}

// out[0, count) = std * the normal values first ... first + count - 1 of the whole tensor.
void fill_normal(float* out, std::int64_t count, std::int64_t first, std::uint64_t seed,
                 std::uint64_t stream, float std) {
  for (std::int64_t i = 0; i < count;) {
    const std::int64_t index = first + i;
    const auto z = normal_block(seed, stream, index / 4);
    for (auto lane = static_cast<std::size_t>(index % 4); lane < 4 && i < count; ++lane, ++i) {
      out[i] = std * z[lane];
    }
  }
}

}  // namespace

void initialize(const at::Tensor& local, const LogicalParameter& part, std::uint64_t seed) {
  if (local.numel() == 0) return;
  if (part.init != Init::kNormal) {
    local.fill_(part.init == Init::kOnes ? 1.0 : 0.0);
    return;
  }
  const std::int64_t rows = local.size(0);
  const std::int64_t columns = local.numel() / rows;
  std::int64_t whole_columns = 1;
  for (std::size_t d = 1; d < part.shape.size(); ++d) whole_columns *= part.shape[d];
  const auto offset = part.local_offset();
  const std::int64_t first_column = offset.size() > 1 ? offset[1] : 0;

  const at::Tensor host = at::empty(local.sizes(), at::kFloat);
  auto* values = host.mutable_data_ptr<float>();
  const std::uint64_t stream = stream_of(part.name);
  const auto std = static_cast<float>(part.init_std);
  at::parallel_for(0, rows, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t first = (offset[0] + row) * whole_columns + first_column;
      fill_normal(values + row * columns, columns, first, seed, stream, std);
    }
  });
  local.copy_(host);
}

}  // namespace cuboid
