#include "cuboid/trainer/batches.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <utility>

#include "cuboid/base/error.hpp"

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

std::size_t tokens_per_step(const Config& config) {
  return static_cast<std::size_t>(config.batch.num_microbatches * config.batch.micro_batch_size *
                                  config.model.seq_length);
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

StepInput::StepInput(const Config& config, const Stage& stage)
    : count_(tokens_per_step(config)),
      has_tokens_(stage.place().is_first),
      has_targets_(stage.place().is_last) {
  const at::Device device = stage.boundary_options().device();
  const auto count = static_cast<std::int64_t>(count_);
  const std::int64_t total = count * (has_tokens_ ? 1 : 0) + count * (has_targets_ ? 1 : 0) + 1;
  host_ = at::empty({total}, at::TensorOptions(at::kLong).pinned_memory(device.is_cuda()));
  device_ = device.is_cpu() ? host_ : at::empty({total}, host_.options().device(device));
  const std::int64_t size = config.batch.micro_batch_size * config.model.seq_length;
  const at::Tensor samples_before = device_.narrow(0, total - 1, 1);
  for (std::int64_t m = 0; m < config.batch.num_microbatches; ++m) {
    MicroBatch part{.first_sample = m * config.batch.micro_batch_size,
                    .samples_before = samples_before};
    if (has_tokens_) part.tokens = device_.narrow(0, m * size, size);
    if (has_targets_) part.targets = device_.narrow(0, (has_tokens_ ? count : 0) + m * size, size);
    micro_batches_.push_back(std::move(part));
  }
}

void StepInput::fill(const Batch& batch) {
  auto* to = host_.mutable_data_ptr<std::int64_t>();
  const auto append = [&](const std::vector<std::int64_t>& all) {
    require(all.size() == count_, "every step has as many tokens");
    to = std::copy(all.begin(), all.end(), to);
  };
  if (has_tokens_) append(batch.tokens);
  if (has_targets_) append(batch.targets);
  *to = batch.first_sample;
  if (!device_.is_same(host_)) device_.copy_(host_, /*non_blocking=*/true);
}

}  // namespace cuboid
