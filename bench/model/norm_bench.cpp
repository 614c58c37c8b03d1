// LayerNorm and RMSNorm of a micro-batch, on every rank: alone (layernorm, rmsnorm), and with the
// addition to the residual stream as the blocks have it (add_layernorm, add_rmsnorm); libtorch/ has
// the latter in LibTorch's own operations. Limit: copies of as many bytes. Bytes, what must move at
// least:
//   forward        x and y; with the addition residual, delta, sum and y
//   backward       dy, x and dx; with the addition dy, sum, the stream's gradient in and out
#include "../harness/measure.hpp"
#include "cuboid/model/norm.hpp"
#include "shapes.hpp"

#include <ATen/ops/zeros.h>

namespace cuboid::harness {
namespace {

enum class What : unsigned char { kNorm, kAddNorm, kLibtorchAddNorm };

struct Case {
  What what;
  Normalization kind;
  bool backward;
  at::ScalarType type;
};

// A step's buffers, used again and again: additions in place make them grow, which costs no time.
struct Tensors {
  at::Tensor x, y;
  NormParameters parameters;
  at::Tensor delta_bias;
  at::Tensor gradients;  // of weight, bias and delta_bias
};

Tensors tensors_of(const Shape& shape, const Case& c) {
  const std::int64_t width = shape.model.hidden_size;
  const bool centred = c.kind == Normalization::kLayerNorm;
  const auto vector = [&] { return random_tensor({width}, c.type); };
  return {.x = random_tensor({shape.tokens(), width}, c.type),
          .y = random_tensor({shape.tokens(), width}, c.type),
          .parameters = {.kind = c.kind,
                         .epsilon = shape.model.norm_epsilon,
                         .weight = vector(),
                         .bias = centred ? vector() : at::Tensor()},
          // A sum that is added to again and again: no bias would keep it finite.
          .delta_bias = centred ? vector() : at::Tensor(),
          .gradients = at::zeros({3, width}, at::TensorOptions(world().processor().device))};
}

std::function<void()> forward_of(const Tensors& t, const Case& c) {
  if (c.what == What::kNorm)
    return [=] { benchmark::DoNotOptimize(add_norm(t.x, {}, {}, t.parameters)); };
  const auto function = c.what == What::kAddNorm ? add_norm : detail::add_norm_composed;
  return [=] {
    benchmark::DoNotOptimize(function(t.x, t.y, t.delta_bias, t.parameters, SumMemory::kDelta));
  };
}

std::function<void()> backward_of(const Tensors& t, const Case& c) {
  // LibTorch on CPUs keeps the statistics of bf16 in bf16.
  const auto forward = c.what == What::kLibtorchAddNorm ? detail::add_norm_composed : add_norm;
  const NormStatistics statistics = forward(t.x, {}, {}, t.parameters, SumMemory::kNew).statistics;
  const auto row = [&](int which, bool wanted) {
    return GradientTarget{wanted ? t.gradients[which] : at::Tensor(), false};
  };
  const bool biases = t.parameters.bias.defined();
  const GradientTarget weight = row(0, true);
  const GradientTarget bias = row(1, biases);
  if (c.what == What::kNorm) {
    return [=] {
      benchmark::DoNotOptimize(
          add_norm_backward(t.y, t.x, statistics, t.parameters, {}, weight, bias, {}));
    };
  }
  const at::Tensor stream = random_tensor(t.x.sizes().vec(), c.type);
  const GradientTarget delta_bias = row(2, biases);
  const auto function =
      c.what == What::kAddNorm ? add_norm_backward : detail::add_norm_backward_composed;
  return [=] {
    benchmark::DoNotOptimize(
        function(t.y, t.x, statistics, t.parameters, stream, weight, bias, delta_bias));
  };
}

void normalize(benchmark::State& state, const Shape& shape, const Case& c) {
  const Tensors tensors = tensors_of(shape, c);
  const Times times =
      measure(state, {.action = c.backward ? backward_of(tensors, c) : forward_of(tensors, c)});
  const double passes = c.what != What::kNorm ? 4.0 : (c.backward ? 3.0 : 2.0);
  const double bytes = passes * static_cast<double>(tensors.x.nbytes()) * world().size();
  set_rate(state, times, "bytes", bytes, copy_limit(bytes));
}

std::string name_of(const Case& c) {
  const char* prefix =
      c.what == What::kNorm ? "" : (c.what == What::kAddNorm ? "add_" : "libtorch/add_");
  return std::string(prefix) + (c.kind == Normalization::kLayerNorm ? "layernorm/" : "rmsnorm/");
}

void register_all() {
  for (const Shape& shape : shapes())
    for (const What what : {What::kNorm, What::kAddNorm, What::kLibtorchAddNorm})
      for (const Normalization kind : {Normalization::kLayerNorm, Normalization::kRmsNorm})
        for (const auto& [type, type_name] : types())
          for (const bool backward : {false, true}) {
            const Case c{what, kind, backward, type};
            add(name_of(c) + shape.name + (backward ? "/backward/" : "/forward/") + type_name,
                [&shape, c](benchmark::State& state) { normalize(state, shape, c); });
          }
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
