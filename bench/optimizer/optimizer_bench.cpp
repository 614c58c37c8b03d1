// AdamW and the gradient norm in bytes per second, beside the rate at which this machine copies:
// both only move memory, so the copy rate is what they can reach.
#include <ATen/ops/ones.h>
#include <benchmark/benchmark.h>

#include <vector>

#include "cuboid/optimizer/adamw.hpp"
#include "cuboid/optimizer/gradient_norm.hpp"

namespace cuboid {
namespace {

// Each rank has its own; with several ranks they share the machine's memory.
constexpr std::int64_t kRows = 8192;

void fill(WeightStore& store, std::int64_t elements, at::ScalarType type) {
  store.add({{.name = "matrix", .shape = {kRows, elements / kRows}}});
  store.add({{.name = "vector", .shape = {1000}}});
  store.allocate(type, at::kCPU, /*seed=*/1);
  store.gradients().fill_(1e-3);
}

void set_rate(benchmark::State& state, std::int64_t elements, std::int64_t bytes_per_element) {
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * elements);
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * elements *
                          bytes_per_element);
}

// Reads and writes the same amount.
void copy(benchmark::State& state) {
  const at::Tensor from = at::ones({state.range(0)}, at::kFloat);
  at::Tensor to = at::ones({state.range(0)}, at::kFloat);  // touched: pages exist
  for (auto _ : state) to.copy_(from);
  set_rate(state, state.range(0), 8);
}

// Reads weights, gradients and both moments, writes all but the gradients: 28 bytes; clipping
// writes these too: 32; bf16 reads the weights once more and writes values: 34.
void adamw(benchmark::State& state, at::ScalarType type, double scale, int bytes) {
  WeightStore store;
  fill(store, state.range(0), type);
  AdamW optimizer(store, OptimizerConfig{});
  for (auto _ : state) optimizer.step(1e-4, scale);
  set_rate(state, store.num_values(), bytes);
}

void norm(benchmark::State& state) {
  const at::Tensor gradients = at::ones({state.range(0)}, at::kFloat);
  const std::vector<Range> all{{0, state.range(0)}};
  for (auto _ : state) benchmark::DoNotOptimize(sum_of_squares(gradients, all));
  set_rate(state, state.range(0), 4);
}

// The character model of the tests (0.8M elements: in the caches), and GPT-2 124M.
void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("elements")
      ->Arg(819200)
      ->Arg(123797504)
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}

BENCHMARK(copy)->Name("optimizer/copy")->Apply(sizes);
BENCHMARK_CAPTURE(adamw, fp32, at::kFloat, 1.0, 28)->Name("optimizer/adamw_fp32")->Apply(sizes);
BENCHMARK_CAPTURE(adamw, clipped, at::kFloat, 0.5, 32)
    ->Name("optimizer/adamw_fp32_clipped")
    ->Apply(sizes);
BENCHMARK_CAPTURE(adamw, bf16, at::kBFloat16, 1.0, 34)->Name("optimizer/adamw_bf16")->Apply(sizes);
BENCHMARK(norm)->Name("optimizer/gradient_norm")->Apply(sizes);

}  // namespace
}  // namespace cuboid
