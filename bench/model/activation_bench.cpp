// The element-wise half of the feed-forward layer, divided over all ranks as TP: GELU with its
// bias, SwiGLU, and the gradient of another layer's bias; libtorch/ has the same in LibTorch's own
// operations. Limit: copies of as many bytes. Bytes, what must move at least, for f inner columns:
//   bias_gelu/forward   the product read, its sum with the bias and the result written: 3 f
//   bias_gelu/backward  gradient and sum read, the gradient of the sum written: 3 f
//   swiglu/forward      gate and up read, the result written: 3 f
//   swiglu/backward     gradient, gate and up read, two gradients written: 5 f
//   column_sums         read once: f
#include <ATen/ops/zeros.h>

#include "../harness/measure.hpp"
#include "cuboid/kernels/activation.hpp"
#include "shapes.hpp"

namespace cuboid::harness {
namespace {

enum class What : unsigned char { kGelu, kGeluBackward, kSwiglu, kSwigluBackward, kColumnSums };

struct Row {
  What what;
  const char* name;
  double passes;
};
constexpr Row kRows[] = {{What::kGelu, "bias_gelu/%/forward", 3},
                         {What::kGeluBackward, "bias_gelu/%/backward", 3},
                         {What::kSwiglu, "swiglu/%/forward", 3},
                         {What::kSwigluBackward, "swiglu/%/backward", 5},
                         {What::kColumnSums, "column_sums/%", 1}};

std::function<void()> action_of(What what, bool libtorch, const at::Tensor& half,
                                const at::Tensor& inner, const at::Tensor& vector,
                                const GradientTarget& target) {
  const auto both = [libtorch](auto function, auto composed) {
    return libtorch ? composed : function;
  };
  const auto keep = [](const at::Tensor& result) { benchmark::DoNotOptimize(result); };
  switch (what) {
    case What::kGelu: {
      const auto f = both(bias_gelu, detail::bias_gelu_composed);
      return [=] { keep(f(half, vector)); };
    }
    case What::kGeluBackward: {
      // At such inputs the slope is 1, so that the gradient, made in place, stays what it is.
      half.fill_(20);
      const auto f = both(gelu_backward, detail::gelu_backward_composed);
      const at::Tensor gradient = random_tensor(half.sizes().vec(), half.scalar_type());
      return [=] { keep(f(gradient, half, target)); };
    }
    case What::kSwiglu: {
      const auto f = both(swiglu, detail::swiglu_composed);
      return [=] { keep(f(inner)); };
    }
    case What::kSwigluBackward: {
      const auto f = both(swiglu_backward, detail::swiglu_backward_composed);
      return [=] { keep(f(half, inner)); };
    }
    case What::kColumnSums: {
      const auto f = both(add_column_sums, detail::add_column_sums_composed);
      return [=] { f(half, target); };
    }
  }
  return {};
}

void activate(benchmark::State& state, const Shape& shape, const Row& row, bool libtorch,
              at::ScalarType type) {
  const std::int64_t width = shape.model.ffn_hidden_size / world().size();
  const at::Tensor half = random_tensor({shape.tokens(), width}, type);
  const at::Tensor inner = random_tensor({shape.tokens(), 2 * width}, type);
  const at::TensorOptions options(world().processor().device);
  // The product is added to again and again: a bias of zeros keeps it what it is.
  const at::Tensor vector = at::zeros({width}, options.dtype(type));
  const GradientTarget target{at::zeros({width}, options), false};
  const Times times =
      measure(state, {.action = action_of(row.what, libtorch, half, inner, vector, target)});
  const double bytes = row.passes * static_cast<double>(half.nbytes()) * world().size();
  set_rate(state, times, "bytes", bytes, copy_limit(bytes));
}

void register_all() {
  for (const Shape& shape : shapes())
    for (const Row& row : kRows)
      for (const auto& [type, type_name] : types())
        for (const bool libtorch : {false, true}) {
          std::string name = row.name;
          name.replace(name.find('%'), 1, shape.name);
          add((libtorch ? "libtorch/" : "") + name + "/" + type_name,
              [&shape, &row, libtorch, type](benchmark::State& state) {
                activate(state, shape, row, libtorch, type);
              });
        }
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
