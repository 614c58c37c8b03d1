// The model's parts, forward and backward, at the shapes of the speed comparison: `small` (4 layers
// x 128, 12 x 64 tokens) and GPT-2's (768 wide, 4 x 256 tokens, vocabulary 50,257; two layers of
// it, to be quick). Run at several ranks, layers are divided over TP. Columns: time of the slowest
// rank; GFLOP/s of products and attention over all ranks; `share`, that over the rate of 1024^3
// products of the same type measured at the start of the benchmark, which is the limit.
#include <ATen/ops/mm.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <benchmark/benchmark.h>
#include <c10/core/InferenceMode.h>

#include "cuboid/base/timer.hpp"
#include "cuboid/collective/backend.hpp"
#include "cuboid/config/model_size.hpp"
#include "cuboid/model/stage.hpp"
#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid {
namespace {

struct Shape {
  ModelConfig model;
  std::int64_t sequences;
  [[nodiscard]] std::int64_t tokens() const { return sequences * model.seq_length; }
};

Shape shape_of(bool small) {
  ModelConfig model;
  model.hidden_size = small ? 128 : 768;
  model.num_layers = small ? 4 : 2;
  model.num_attention_heads = model.num_key_value_heads = small ? 4 : 12;
  model.ffn_hidden_size = 4 * model.hidden_size;
  model.seq_length = small ? 64 : 256;
  model.vocab_size = small ? 256 : 50257;
  return {.model = model, .sequences = small ? 12 : 4};
}

Communicator& tp() {
  static const auto comm = make_communicator(Backend::kMpi, MPI_COMM_WORLD, "tp");
  return *comm;
}

double slowest(const Timer& timer) {
  double seconds = timer.seconds();
  tp().all_reduce(buffer_of(seconds), ReduceOp::kMax);
  return seconds;
}

// FLOP/s of all ranks multiplying at the same time, the best of five.
double product_rate(at::ScalarType type) {
  constexpr std::int64_t kSize = 1024;
  const at::Tensor a = at::rand({kSize, kSize}, type);
  const at::Tensor b = at::rand({kSize, kSize}, type);
  at::Tensor c = at::mm(a, b);
  double best = 0.0;
  for (int i = 0; i < 5; ++i) {
    tp().barrier();
    const Timer timer;
    at::mm_out(c, a, b);
    best = std::max(best, 2.0 * kSize * kSize * kSize * tp().size() / slowest(timer));
  }
  return best;
}

at::ScalarType type_of(const benchmark::State& state) {
  return state.range(1) != 0 ? at::kBFloat16 : at::kFloat;
}

// Times `work`, which does `flops` operations over all ranks.
template <typename Work>
void measure(benchmark::State& state, double flops, Work&& work) {
  const double limit = product_rate(type_of(state));
  work();
  double total = 0.0;
  for (auto _ : state) {
    tp().barrier();
    const Timer timer;
    work();
    const double seconds = slowest(timer);
    total += seconds;
    state.SetIterationTime(seconds);
  }
  const double rate = flops * static_cast<double>(state.iterations()) / total;
  state.counters["GFLOP/s"] = rate * 1e-9;
  state.counters["share"] = rate / limit;
}

at::Tensor random(std::vector<std::int64_t> shape, at::ScalarType type) {
  return at::randn(shape).to(type);
}

// Forward and backward of a whole stage: embedding, blocks, head, loss.
void stage(benchmark::State& state) {
  const c10::InferenceMode no_autograd;
  const Shape shape = shape_of(state.range(0) == 0);
  Stage subject(shape.model, stage_place(shape.model, 1, 0), tp(),
                {.dtype = type_of(state), .seed = 1, .micro_batch_size = shape.sequences});
  MicroBatch batch;
  batch.tokens = at::randint(shape.model.vocab_size, {shape.tokens()}, at::kLong);
  batch.targets = at::randint(shape.model.vocab_size, {shape.tokens()}, at::kLong);
  measure(state, flops_per_token(shape.model) * static_cast<double>(shape.tokens()), [&] {
    subject.begin_step({batch}, 1.0);
    (void)subject.forward(0, {});
    (void)subject.backward(0, {}, true);
  });
}

// One block, without the ends: 2 FLOPs a weight and token forward, 4 backward; attention halved for
// the causal mask, backward 2.5 times its forward (scores are computed again).
void block(benchmark::State& state, bool backward) {
  const c10::InferenceMode no_autograd;
  const Shape shape = shape_of(state.range(0) == 0);
  WeightStore store;
  Block subject(store, tp(), shape.model, 0);
  store.allocate(type_of(state), at::kCPU, 1);
  const at::Tensor x = random({shape.tokens(), shape.model.hidden_size}, type_of(state));
  const auto h = static_cast<double>(shape.model.hidden_size);
  const auto tokens = static_cast<double>(shape.tokens());
  const double products = 2.0 * 12.0 * h * h * tokens;
  const double attention = 2.0 * static_cast<double>(shape.model.seq_length) * h * tokens;
  Block::Saved saved;
  (void)subject.forward(x, 0.0, {}, saved);
  measure(state, backward ? 2.0 * products + 2.5 * attention : products + attention, [&] {
    if (backward) {
      store.reset_gradients();
      (void)subject.backward(x, 0.0, {}, saved);
    } else {
      Block::Saved again;
      (void)subject.forward(x, 0.0, {}, again);
    }
  });
}

// Loss and its gradient over logits that are divided by columns: memory-bound, no products.
void cross_entropy(benchmark::State& state) {
  const c10::InferenceMode no_autograd;
  const Shape shape = shape_of(state.range(0) == 0);
  const auto shard = vocabulary_shard(shape.model.vocab_size, tp().size(), tp().rank());
  const at::Tensor logits = at::randn({shape.tokens(), shard.num_rows});
  const at::Tensor targets = at::randint(shape.model.vocab_size, {shape.tokens()}, at::kLong);
  measure(state, 0.0, [&] { CrossEntropy::compute(logits, targets, shard, tp(), 1.0); });
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * logits.numel() * 4);
}

// Same iterations on all ranks. Arguments: 0 small or 1 GPT-2's; 0 fp32 or 1 bf16.
void both_shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"gpt2", "bf16"})
      ->Args({0, 0})
      ->Args({0, 1})
      ->Args({1, 0})
      ->Args({1, 1})
      ->Iterations(10)
      ->Unit(benchmark::kMillisecond)
      ->UseManualTime();
}

BENCHMARK(stage)->Name("model/stage_forward_backward")->Apply(both_shapes);
BENCHMARK_CAPTURE(block, forward, false)->Name("model/block_forward")->Apply(both_shapes);
BENCHMARK_CAPTURE(block, backward, true)->Name("model/block_backward")->Apply(both_shapes);
BENCHMARK(cross_entropy)
    ->Name("model/cross_entropy")
    ->ArgNames({"gpt2", "bf16"})
    ->Args({0, 0})
    ->Args({1, 0})
    ->Iterations(10)
    ->Unit(benchmark::kMillisecond)
    ->UseManualTime();

}  // namespace
}  // namespace cuboid
