// This machine's limits, by all ranks at once: what the shares of all other tables refer to
// (harness/limits.hpp says how each is measured). Products and copies of several sizes, since a
// limit holds for its size.
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>

#include "../harness/measure.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/kernels/product.hpp"

namespace cuboid::harness {
namespace {

at::TensorOptions options_of(at::ScalarType type) {
  return at::TensorOptions(type).device(world().processor().device);
}

void products(benchmark::State& state, std::int64_t side, at::ScalarType type) {
  // Random values: products of zeros run faster than any real one.
  const at::Tensor a = at::randn({side, side}, options_of(type));
  const at::Tensor b = at::randn({side, side}, options_of(type));
  const at::Tensor c = multiply(a, b);
  const Times times = measure(state, {.action = [&] { multiply_out(c, a, b); }});
  const auto n = static_cast<double>(side);
  set_rate(state, times, "FLOP", 2 * n * n * n * world().size(), product_limit(type));
}

void copies(benchmark::State& state, std::int64_t bytes) {
  if (!fits(state, static_cast<double>(bytes))) return;
  const at::Tensor from = at::ones({bytes / 8}, options_of(at::kFloat));
  const at::Tensor to = at::ones({bytes / 8}, options_of(at::kFloat));
  const Times times = measure(state, {.action = [&] { to.copy_(from); }});
  set_rate(state, times, "bytes", static_cast<double>(bytes) * world().size());
}

// The rate of one rank, sending and receiving at once.
void ring(benchmark::State& state, std::int64_t bytes) {
  if (world().size() == 1) return state.SkipWithError("left out: one rank has nobody to talk to");
  const Times times = measure(state, {.action = ring_exchange(bytes)});
  set_rate(state, times, "bytes", static_cast<double>(bytes), link_limit());
}

void file(benchmark::State& state, bool reads) {
  write_file();
  const Times times = measure(
      state, {.action = reads ? read_file : write_file, .prepare = reads ? forget_file : [] {}});
  remove_file();
  set_rate(state, times, "bytes", static_cast<double>(file_bytes()) * world().size());
}

void register_all() {
  const bool gpu = world().processor().device.is_cuda();
  for (const auto& [type, name] : {std::pair(at::kFloat, "fp32"), std::pair(at::kBFloat16, "bf16")})
    for (const std::int64_t side : gpu ? std::vector<std::int64_t>{2048, 4096, 8192}
                                       : std::vector<std::int64_t>{512, 1024, 2048})
      add(format("product/%ldx%ldx%ld/%s", side, side, side, name),
          [side, type](benchmark::State& state) { products(state, side, type); });
  constexpr std::int64_t kMib = 1 << 20;
  for (const std::int64_t mib : {1, 16, 256, 1024})
    add(format("copy/%ldMiB", mib), [mib](benchmark::State& state) { copies(state, mib * kMib); });
  for (const std::int64_t kib : {256, 1024, 4096, 16384})
    add(format("link/%ldKiB", kib), [kib](benchmark::State& state) { ring(state, kib << 10); });
  add("file/write_and_sync", [](benchmark::State& state) { file(state, false); });
  add("file/read_cold", [](benchmark::State& state) { file(state, true); });
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
