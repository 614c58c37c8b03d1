#include "cuboid/trainer/peak.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/rand.h>

#include <algorithm>

#include "cuboid/base/timer.hpp"
#include "cuboid/kernels/product.hpp"

namespace cuboid {

double measure_product_rate(Communicator& control, c10::ScalarType dtype, c10::Device device) {
  const std::int64_t n = device.is_cuda() ? 8192 : 1024;
  const auto options = at::TensorOptions(dtype).device(device);
  // Random values: products of zeros run faster than any real one.
  const at::Tensor a = at::rand({n, n}, options).sub_(0.5);
  const at::Tensor b = at::rand({n, n}, options).sub_(0.5);
  const at::Tensor c = multiply(a, b);
  constexpr int kRounds = 4;
  constexpr int kProducts = 4;
  double best = 0.0;
  for (int round = 0; round < kRounds; ++round) {
    control.barrier();
    const Timer timer;
    for (int i = 0; i < kProducts; ++i) multiply_out(c, a, b);
    // Reading one value waits for the device. Slow rounds count with their slowest rank.
    c[0][0].item<double>();
    double seconds = timer.seconds();
    control.all_reduce(buffer_of(seconds), ReduceOp::kMax);
    const auto size = static_cast<double>(n);
    best = std::max(best, kProducts * 2.0 * size * size * size * control.size() / seconds);
  }
  return best;
}

}  // namespace cuboid
