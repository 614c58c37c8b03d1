#include "cuboid/model/weight.hpp"

#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include "cuboid/base/error.hpp"
#include "cuboid/kernels/product.hpp"
#include "cuboid/model/initialize.hpp"

namespace cuboid {
namespace {

std::int64_t product(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count *= size;
  return count;
}

// Weights start on 64-byte boundaries of fp32, so that vector loads are aligned.
constexpr std::int64_t kAlignment = 16;
std::int64_t aligned(std::int64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

// Zeros in the communicator's memory.
at::Tensor zeros_in(Communicator& owner, std::int64_t count, const at::TensorOptions& options) {
  const std::size_t bytes = static_cast<std::size_t>(count) * options.dtype().itemsize();
  return at::from_blob(owner.allocate(bytes), {count}, options);
}

at::Tensor view_of(const at::Tensor& flat, const Weight& weight) {
  return flat.narrow(0, weight.offset, weight.count()).view(weight.shape);
}

}  // namespace

std::vector<std::int64_t> LogicalParameter::local_shape() const {
  std::vector<std::int64_t> local = shape;
  if (shard_dim >= 0) local[static_cast<std::size_t>(shard_dim)] = shard.size();
  return local;
}

std::vector<std::int64_t> LogicalParameter::local_offset() const {
  std::vector<std::int64_t> offset(shape.size(), 0);
  if (shard_dim >= 0) offset[static_cast<std::size_t>(shard_dim)] = shard.begin;
  return offset;
}

std::int64_t Weight::count() const {
  return product(shape);
}

void Weight::accumulate_product(const at::Tensor& dy, const at::Tensor& x) {
  accumulate_product_(gradient, dy.t(), x, /*accumulate=*/!fresh);
  fresh = false;
}

void Weight::accumulate(const at::Tensor& g) {
  fresh ? gradient.copy_(g) : gradient.add_(g);
  fresh = false;
}

GradientTarget Weight::contribution() {
  const bool accumulate_there = !fresh;
  fresh = false;
  return {.gradient = gradient, .accumulate = accumulate_there};
}

Weight& WeightStore::add(std::vector<LogicalParameter> parts, std::int64_t padding_rows) {
  require(!master_.defined(), "weights are added before allocate()");
  require(!parts.empty(), "a weight has a part");
  auto weight = std::make_unique<Weight>();
  std::int64_t rows = 0;
  for (LogicalParameter& part : parts) {
    part.row_begin = rows;
    rows += part.local_rows();
  }
  weight->shape = parts.front().local_shape();
  weight->shape[0] = rows + padding_rows;
  weight->decays = weight->shape.size() > 1;
  weight->parts = std::move(parts);
  weights_.push_back(std::move(weight));
  return *weights_.back();
}

Weight& WeightStore::add_gradient_only(const Weight& like) {
  require(!master_.defined(), "weights are added before allocate()");
  auto weight = std::make_unique<Weight>();
  weight->shape = like.shape;
  weight->gradient_only = true;
  weights_.push_back(std::move(weight));
  return *weights_.back();
}

void WeightStore::allocate(at::ScalarType compute, at::Device device, std::uint64_t seed,
                           Communicator* reduces_gradients) {
  std::int64_t end = 0;
  const auto place = [&](auto&& belongs) {
    for (auto& weight : weights_) {
      if (!belongs(*weight)) continue;
      weight->offset = end;
      end = aligned(end + weight->count());
    }
    return end;
  };
  num_decaying_ = place([](const Weight& w) { return !w.gradient_only && w.decays; });
  num_values_ = place([](const Weight& w) { return !w.gradient_only && !w.decays; });
  const std::int64_t num_gradients = place([](const Weight& w) { return w.gradient_only; });

  const auto state =
      at::TensorOptions(compute == at::kDouble ? at::kDouble : at::kFloat).device(device);
  master_ = at::zeros({num_values_}, state);
  gradients_ = reduces_gradients != nullptr && device.is_cpu()
                   ? zeros_in(*reduces_gradients, num_gradients, state)
                   : at::zeros({num_gradients}, state);
  values_ =
      master_.scalar_type() == compute ? master_ : at::empty({num_values_}, state.dtype(compute));
  for (auto& weight : weights_) {
    weight->gradient = view_of(gradients_, *weight);
    if (weight->gradient_only) continue;
    weight->value = view_of(values_, *weight);
    for (const LogicalParameter& part : weight->parts) {
      initialize(local_part(master_, *weight, part), part, seed);
    }
  }
  refresh_values();
}

void WeightStore::reset_gradients() {
  for (auto& weight : weights_) weight->fresh = true;
}

void WeightStore::refresh_values() {
  if (!values_.is_same(master_)) values_.copy_(master_);
}

at::Tensor WeightStore::local_part(const at::Tensor& flat, const Weight& weight,
                                   const LogicalParameter& part) {
  return view_of(flat, weight).narrow(0, part.row_begin, part.local_rows());
}

}  // namespace cuboid
