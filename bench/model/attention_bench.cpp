// The core of attention, softmax(q k^T) v, without its projections, laid out as the layer holds it.
// Every rank computes all heads of a micro-batch of its own. FLOP: what a causal mask leaves of the
// products. Limit: square products of all ranks at once.
#include "../harness/measure.hpp"
#include "cuboid/model/attention.hpp"
#include "shapes.hpp"

namespace cuboid::harness {
namespace {

void attend(benchmark::State& state, const Shape& shape, bool backward, at::ScalarType type) {
  const std::int64_t heads = shape.model.num_attention_heads;
  const std::int64_t width = shape.model.head_dim();
  const std::int64_t length = shape.model.seq_length;
  const at::Tensor qkv = random_tensor({shape.sequences, length, 3, heads, width}, type);
  const auto part = [&](std::int64_t i) { return qkv.select(2, i).transpose(1, 2); };
  const at::Tensor q = part(0), k = part(1), v = part(2);
  const AttentionCore core = AttentionCore::forward(q, k, v);
  const at::Tensor gradient =
      random_tensor({shape.sequences, length, heads, width}, type).transpose(1, 2);
  const Times times = measure(state, {.action = [&] {
                                if (backward)
                                  benchmark::DoNotOptimize(core.backward(gradient, q, k, v));
                                else
                                  benchmark::DoNotOptimize(AttentionCore::forward(q, k, v));
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
