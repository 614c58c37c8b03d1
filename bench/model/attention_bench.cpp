// The core of attention, softmax(q k^T) v, without its projections, laid out as the layer holds it.
// Every rank computes all heads of a micro-batch of its own. FLOP: what a causal mask leaves of the
// products. Limit: square products of all ranks at once.
#include "../harness/measure.hpp"
#include "cuboid/model/attention.hpp"
#include "shapes.hpp"

namespace cuboid::harness {
namespace {

void attend(benchmark::State& state, const Shape& shape, bool backward, at::ScalarType type) {
  const AttentionShape heads{.sequences = shape.sequences,
                             .seq = shape.model.seq_length,
                             .heads = shape.model.num_attention_heads,
                             .kv_heads = shape.model.num_attention_heads,
                             .head_dim = shape.model.head_dim()};
  const at::Tensor qkv = random_tensor({shape.tokens(), heads.width()}, type);
  const AttentionCore core = AttentionCore::forward(qkv, heads);
  const at::Tensor gradient = random_tensor({shape.tokens(), shape.model.hidden_size}, type);
  const Times times = measure(state, {.action = [&] {
                                if (backward)
                                  benchmark::DoNotOptimize(core.backward(gradient, qkv, heads));
                                else
                                  benchmark::DoNotOptimize(AttentionCore::forward(qkv, heads));
                              }});
  set_rate(state, times, "FLOP", attention_flops(shape, backward) * world().size(),
           product_limit(type));
}

void register_all() {
  for (const Shape& shape : shapes())
    for (const auto& [type, type_name] : types())
      for (const bool backward : {false, true})
        add("attention/" + shape.name + (backward ? "/backward/" : "/forward/") + type_name,
            [&shape, backward, type](benchmark::State& state) {
              attend(state, shape, backward, type);
            });
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
