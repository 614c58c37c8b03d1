// One block, forward and backward, and a stage of embedding, two blocks, head and loss, both
// passes; divided over all ranks as TP, communication included. FLOP of all ranks together:
// products 2 m n k (backward twice that) and attention as in attention_bench.cpp. Limit: square
// products of all ranks at once.
#include "../harness/measure.hpp"
#include "cuboid/model/stage.hpp"
#include "cuboid/model/tensor_buffer.hpp"
#include "shapes.hpp"

namespace cuboid::harness {
namespace {

// fp32 weights and gradients, and what a micro-batch keeps.
bool fits_layers(benchmark::State& state, const Shape& shape, double layers, bool head) {
  double weights = 0;
  double outputs = 0;
  for (const Product& product : products_of_block(shape.model)) {
    weights += layers * static_cast<double>(product.outputs * product.inputs);
    outputs += layers * static_cast<double>(product.outputs + product.inputs);
  }
  if (head) {
    weights += static_cast<double>(shape.model.vocab_size * shape.model.hidden_size) *
               (shape.model.tie_embeddings ? 1 : 2);
    outputs += 2.0 * static_cast<double>(shape.model.vocab_size);
  }
  const int ranks = world().size();
  return fits(state, 10.0 * weights / ranks + 8.0 * outputs * static_cast<double>(shape.tokens()));
}

bool divides(benchmark::State& state, const ModelConfig& model) {
  const int ranks = world().size();
  if (model.num_attention_heads % ranks == 0 && model.num_key_value_heads % ranks == 0) return true;
  state.SkipWithError(("left out: " + std::to_string(model.num_key_value_heads) +
                       " heads do not divide over " + std::to_string(ranks) + " ranks")
                          .c_str());
  return false;
}

void block(benchmark::State& state, const Shape& shape, bool backward, at::ScalarType type) {
  if (!divides(state, shape.model) || !fits_layers(state, shape, 1, false)) return;
  WeightStore store;
  const auto device = world().processor().device;
  Block subject(store, world().communicator(), shape.model, 0,
                make_rotary(shape.model, at::TensorOptions(type).device(device)));
  store.allocate(type, device, 1);
  const at::Tensor x = random_tensor({shape.tokens(), shape.model.hidden_size}, type);
  Block::Saved saved;
  (void)subject.forward({.stream = x}, 0.0, {}, saved);
  const Times times = measure(state, {.action = [&] {
                                if (backward) {
                                  store.reset_gradients();
                                  // The gradient is used up, so each call gets its own.
                                  (void)subject.backward(x.clone(), 0.0, {}, saved, nullptr);
                                } else {
                                  Block::Saved again;
                                  (void)subject.forward({.stream = x}, 0.0, {}, again).sum();
                                }
                              }});
  set_rate(state, times, "FLOP", block_flops(shape, backward), product_limit(type));
}

void stage(benchmark::State& state, Shape shape, at::ScalarType type) {
  constexpr std::int64_t kLayers = 2;
  shape.model.num_layers = kLayers;
  if (!divides(state, shape.model) || !fits_layers(state, shape, kLayers, true)) return;
  Stage subject(shape.model, stage_place(shape.model, 1, 0), world().communicator(),
                {.dtype = type,
                 .device = world().processor().device,
                 .seed = 1,
                 .micro_batch_size = shape.sequences});
  MicroBatch batch;
  batch.tokens = random_tokens(shape.tokens(), shape.model.vocab_size);
  batch.targets = random_tokens(shape.tokens(), shape.model.vocab_size);
  world().communicator().broadcast(buffer_of(batch.tokens), 0);
  world().communicator().broadcast(buffer_of(batch.targets), 0);
  const Times times = measure(state, {.action = [&] {
                                subject.begin_step({batch}, 1.0);
                                (void)subject.forward(0, {});
                                (void)subject.backward(0, {}, true);
                              }});
  const Product head = {"head", shape.model.vocab_size, shape.model.hidden_size};
  const double flops = kLayers * (block_flops(shape, false) + block_flops(shape, true)) +
                       3 * product_flops(shape.tokens(), head);
  set_rate(state, times, "FLOP", flops, product_limit(type));
}

void register_all() {
  for (const Shape& shape : shapes())
    for (const auto& [type, type_name] : types()) {
      for (const bool backward : {false, true})
        add("block/" + shape.name + (backward ? "/backward/" : "/forward/") + type_name,
            [&shape, backward, type](benchmark::State& state) {
              block(state, shape, backward, type);
            });
      add("stage_of_2_layers/" + shape.name + "/forward_backward/" + type_name,
          [&shape, type](benchmark::State& state) { stage(state, shape, type); });
    }
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
