// The matrix products of a layer and of the head, as the layers call them. Every rank multiplies
// whole matrices of its own (no TP). FLOP: 2 m n k a rank, m tokens. Limit: square products of all
// ranks at once.
//   forward          y = x W^T
//   input_gradient   dx = dy W
//   weight_gradient  fp32 gradient += dy^T x
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include "../harness/measure.hpp"
#include "cuboid/model/weight.hpp"
#include "shapes.hpp"

namespace cuboid::harness {
namespace {

enum class Pass { kForward, kInputGradient, kWeightGradient };

void multiply(benchmark::State& state, std::int64_t tokens, const Product& product, Pass pass,
              at::ScalarType type) {
  const std::int64_t n = product.outputs;
  const std::int64_t k = product.inputs;
  const auto elements = static_cast<double>(n * k + tokens * (n + k));
  if (!fits(state, 8.0 * elements)) return;
  const at::Tensor x =
      pass != Pass::kInputGradient ? random_tensor({tokens, k}, type) : at::Tensor();
  const at::Tensor dy = pass != Pass::kForward ? random_tensor({tokens, n}, type) : at::Tensor();
  Weight weight;
  if (pass == Pass::kWeightGradient) {
    weight.gradient = random_tensor({n, k}, at::kFloat);
    weight.fresh = false;
  } else {
    weight.value = random_tensor({n, k}, type);
  }
  const auto work = [&] {
    switch (pass) {
      case Pass::kForward: benchmark::DoNotOptimize(at::mm(x, weight.value.t())); break;
      case Pass::kInputGradient: benchmark::DoNotOptimize(at::mm(dy, weight.value)); break;
      case Pass::kWeightGradient: weight.accumulate_product(dy, x); break;
    }
  };
  const Times times = measure(state, {.action = work});
  state.counters["m"] = static_cast<double>(tokens);
  state.counters["n"] = static_cast<double>(n);
  state.counters["k"] = static_cast<double>(k);
  set_rate(state, times, "FLOP", product_flops(tokens, product) * world().size(),
           product_limit(type));
}

void register_all() {
  for (const Shape& shape : shapes()) {
    auto products = products_of_block(shape.model);
    products.push_back(product_of_head(shape.model));
    for (const auto& [type, type_name] : types())
      for (const Product& product : products)
        for (const auto& [pass, pass_name] : {std::pair(Pass::kForward, "forward"),
                                              std::pair(Pass::kInputGradient, "input_gradient"),
                                              std::pair(Pass::kWeightGradient, "weight_gradient")})
          add("matmul/" + shape.name + "/" + product.name + "/" + pass_name + "/" + type_name,
              [tokens = shape.tokens(), product, pass, type](benchmark::State& state) {
                multiply(state, tokens, product, pass, type);
              });
  }
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
