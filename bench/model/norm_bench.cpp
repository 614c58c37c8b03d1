// LayerNorm and RMSNorm of a micro-batch, on every rank. Bytes: what must move at least, x and y
// forward, dy, x and dx backward. Limit: copies of as many bytes.
#include "../harness/measure.hpp"
#include "cuboid/model/norm.hpp"
#include "shapes.hpp"

namespace cuboid::harness {
namespace {

void normalize(benchmark::State& state, const Shape& shape, Normalization kind, bool backward,
               at::ScalarType type) {
  ModelConfig model = shape.model;
  model.normalization = kind;
  WeightStore store;
  Norm norm(store, model, "norm");
  store.allocate(type, world().processor().device, 1);
  const at::Tensor x = random_tensor({shape.tokens(), model.hidden_size}, type);
  const at::Tensor dy = random_tensor({shape.tokens(), model.hidden_size}, type);
  Norm::Saved saved;
  (void)norm.forward(x, saved);
  const Times times = measure(
      state, {.action = [&] {
        Norm::Saved again;
        benchmark::DoNotOptimize(backward ? norm.backward(dy, x, saved) : norm.forward(x, again));
      }});
  const double bytes = (backward ? 3.0 : 2.0) * static_cast<double>(x.nbytes()) * world().size();
  set_rate(state, times, "bytes", bytes, copy_limit(bytes));
}

void register_all() {
  for (const Shape& shape : shapes())
    for (const auto& [kind, kind_name] : {std::pair(Normalization::kLayerNorm, "layernorm"),
                                          std::pair(Normalization::kRmsNorm, "rmsnorm")})
      for (const auto& [type, type_name] : types())
        for (const bool backward : {false, true})
          add(std::string(kind_name) + "/" + shape.name + (backward ? "/backward/" : "/forward/") +
                  type_name,
              [&shape, kind, backward, type](benchmark::State& state) {
                normalize(state, shape, kind, backward, type);
              });
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
