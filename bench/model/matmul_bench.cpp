// The matrix products of a layer and of the head, as the layers call them. Every rank multiplies
// whole matrices of its own (no TP). FLOP: 2 m n k a rank, m tokens. Limit: square products of all
// ranks at once.
//   forward          y = x W^T
//   input_gradient   dx = dy W
//   weight_gradient  fp32 gradient += dy^T x
// libtorch/ has LibTorch's own products of the same matrices, in fp32 and in turns with them, where
// the project makes them itself.
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include "../harness/measure.hpp"
#include "cuboid/kernels/product.hpp"
#include "shapes.hpp"

namespace cuboid::harness {
namespace {

enum class Pass { kForward, kInputGradient, kWeightGradient };

struct Row {
  Product product;
  Pass pass;
  at::ScalarType type;
  bool libtorch;
};

void multiply_row(benchmark::State& state, std::int64_t tokens, const Row& row) {
  const std::int64_t n = row.product.outputs;
  const std::int64_t k = row.product.inputs;
  const auto elements = static_cast<double>(n * k + tokens * (n + k));
  if (!fits(state, 8.0 * elements)) return;
  const auto made = [&](bool wanted, std::vector<std::int64_t> shape, at::ScalarType type) {
    return wanted ? random_tensor(shape, type) : at::Tensor();
  };
  const at::Tensor x = made(row.pass != Pass::kInputGradient, {tokens, k}, row.type);
  const at::Tensor dy = made(row.pass != Pass::kForward, {tokens, n}, row.type);
  const at::Tensor weight = made(row.pass != Pass::kWeightGradient, {n, k}, row.type);
  at::Tensor gradient = made(row.pass == Pass::kWeightGradient, {n, k}, at::kFloat);
  const auto product = [&](const at::Tensor& a, const at::Tensor& b) {
    benchmark::DoNotOptimize(row.libtorch ? at::mm(a, b) : multiply(a, b));
  };
  const auto work = [&] {
    switch (row.pass) {
      case Pass::kForward: product(x, weight.t()); break;
      case Pass::kInputGradient: product(dy, weight); break;
      case Pass::kWeightGradient:
        row.libtorch ? (void)at::addmm_out(gradient, gradient, dy.t(), x)
                     : accumulate_product_(gradient, dy.t(), x, /*accumulate=*/true);
    }
  };
  const Times times = measure(state, {.action = work});
  state.counters["m"] = static_cast<double>(tokens);
  state.counters["n"] = static_cast<double>(n);
  state.counters["k"] = static_cast<double>(k);
  set_rate(state, times, "FLOP", product_flops(tokens, row.product) * world().size(),
           product_limit(row.type));
}

void add_rows(const Shape& shape, const Product& product, Pass pass, const std::string& name) {
  const bool own = host_products() == HostProducts::kBlocks && world().processor().device.is_cpu();
  for (const auto& [type, type_name] : types())
    for (const bool libtorch : {true, false}) {
      if (libtorch && (!own || type != at::kFloat)) continue;
      add((libtorch ? "libtorch/" : "") + name + "/" + type_name,
          [tokens = shape.tokens(), row = Row{product, pass, type, libtorch}](
              benchmark::State& state) { multiply_row(state, tokens, row); });
    }
}

void register_all() {
  for (const Shape& shape : shapes()) {
    auto products = products_of_block(shape.model);
    products.push_back(product_of_head(shape.model));
    for (const Product& product : products)
      for (const auto& [pass, pass_name] :
           {std::pair(Pass::kForward, "forward"), std::pair(Pass::kInputGradient, "input_gradient"),
            std::pair(Pass::kWeightGradient, "weight_gradient")})
        add_rows(shape, product, pass,
                 "matmul/" + shape.name + "/" + product.name + "/" + pass_name);
  }
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
