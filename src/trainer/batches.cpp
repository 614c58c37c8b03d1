#include "cuboid/trainer/batches.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <utility>

namespace cuboid {
namespace {

BatchContent content_for(const StagePlace& place) {
  return place.is_first || place.is_last ? BatchContent::kTokensAndTargets : BatchContent::kIdsOnly;
}

// The whole batch at once: on the host where it lies, to a GPU out of pinned memory, so that nobody
// waits for the copy (LibTorch keeps that memory until it is done).
at::Tensor tokens_on(const std::vector<std::int64_t>& all, at::Device device) {
  if (all.empty()) return {};
  const auto count = static_cast<std::int64_t>(all.size());
  // from_blob wants mutable memory; nobody writes to tokens.
  auto* data = const_cast<std::int64_t*>(all.data());
  at::Tensor here = at::from_blob(data, {count}, at::kLong);
  if (device.is_cpu()) return here;
  at::Tensor pinned = at::empty({count}, at::TensorOptions(at::kLong).pinned_memory(true));
  pinned.copy_(here);
  return pinned.to(device, at::kLong, /*non_blocking=*/true);
}

}  // namespace

BatchReader batch_reader(const Config& config, const Grid& grid, const StagePlace& place,
                         const TokenSplit& tokens, SampleOrder order) {
  return {tokens, std::move(order),
          BatchShape{.seq_length = config.model.seq_length,
                     .micro_batch_size = config.batch.micro_batch_size,
                     .num_microbatches = config.batch.num_microbatches,
                     .dp_size = grid.shape().dp,
                     .dp_rank = grid.at().dp},
          content_for(place)};
}

std::vector<MicroBatch> micro_batches_of(const Batch& batch, const Config& config,
                                         const Stage& stage) {
  const std::int64_t size = config.batch.micro_batch_size * config.model.seq_length;
  const at::Device device = stage.boundary_options().device();
  const StagePlace& place = stage.place();
  const at::Tensor tokens = place.is_first ? tokens_on(batch.tokens, device) : at::Tensor();
  const at::Tensor targets = place.is_last ? tokens_on(batch.targets, device) : at::Tensor();
  const auto part = [&](const at::Tensor& all, std::int64_t m) {
    return all.defined() ? all.narrow(0, m * size, size) : at::Tensor();
  };
  std::vector<MicroBatch> result;
  for (std::int64_t m = 0; m < config.batch.num_microbatches; ++m) {
    result.push_back({.tokens = part(tokens, m),
                      .targets = part(targets, m),
                      .first_sample = batch.first_sample + m * config.batch.micro_batch_size});
  }
  return result;
}

}  // namespace cuboid
