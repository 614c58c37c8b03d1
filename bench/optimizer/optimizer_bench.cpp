// AdamW and the gradient norm, over flat buffers that every rank has of its own. Both only move
// memory. Limit: copies of as many bytes, by all ranks at once.
#include <ATen/ops/ones.h>

#include <vector>

#include "../harness/measure.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/optimizer/adamw.hpp"
#include "cuboid/optimizer/gradient_norm.hpp"

namespace cuboid::harness {
namespace {

// The demo's model (in the caches), and GPT-2 124M.
constexpr std::int64_t kSizes[] = {819200, 123797504};
constexpr std::int64_t kRows = 8192;

void set_bytes(benchmark::State& state, const Times& times, std::int64_t elements, int each) {
  const double bytes = static_cast<double>(elements) * each * world().size();
  set_rate(state, times, "bytes", bytes, copy_limit(bytes));
}

// Reads weights, gradients and both moments, writes all but the gradients: 28 bytes, clipped or
// not; bf16 values besides: 30.
void adamw(benchmark::State& state, std::int64_t elements, at::ScalarType type, double scale,
           int bytes) {
  if (!fits(state, 18.0 * static_cast<double>(elements))) return;
  WeightStore store;
  store.add({{.name = "matrix", .shape = {kRows, elements / kRows}}});
  store.add({{.name = "vector", .shape = {1000}}});
  store.allocate(type, world().processor().device, /*seed=*/1);
  store.gradients().fill_(1e-3);
  AdamW optimizer(store, OptimizerConfig{});
  const Times times = measure(state, {.action = [&] { optimizer.step(1e-4, scale); }});
  set_bytes(state, times, store.num_values(), bytes);
}

void norm(benchmark::State& state, std::int64_t elements) {
  const at::Tensor gradients =
      at::ones({elements}, at::TensorOptions(at::kFloat).device(world().processor().device));
  const std::vector<Range> all{{0, elements}};
  const Times times =
      measure(state, {.action = [&] { benchmark::DoNotOptimize(sum_of_squares(gradients, all)); }});
  set_bytes(state, times, elements, 4);
}

void register_all() {
  for (const std::int64_t elements : kSizes) {
    const std::string size = "/" + short_count(static_cast<double>(elements));
    const auto add_adamw = [&](const char* name, at::ScalarType type, double scale, int bytes) {
      add(name + size,
          [=](benchmark::State& state) { adamw(state, elements, type, scale, bytes); });
    };
    add_adamw("adamw/fp32", at::kFloat, 1.0, 28);
    add_adamw("adamw/fp32_clipped", at::kFloat, 0.5, 28);
    add_adamw("adamw/bf16", at::kBFloat16, 1.0, 30);
    add("gradient_norm" + size, [=](benchmark::State& state) { norm(state, elements); });
  }
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
