#include "cuboid/trainer/batches.hpp"

#include <ATen/ops/from_blob.h>

#include <utility>

namespace cuboid {
namespace {

BatchContent content_for(const StagePlace& place) {
  return place.is_first || place.is_last ? BatchContent::kTokensAndTargets : BatchContent::kIdsOnly;
}

at::Tensor tokens_on(const std::vector<std::int64_t>& all, std::int64_t begin, std::int64_t count,
                     at::Device device) {
  if (all.empty()) return {};
  // from_blob wants mutable memory; nobody writes to tokens.
  auto* data = const_cast<std::int64_t*>(all.data()) + begin;
  return at::from_blob(data, {count}, at::kLong).to(device);
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
  std::vector<MicroBatch> result;
  for (std::int64_t m = 0; m < config.batch.num_microbatches; ++m) {
    result.push_back(
        {.tokens = stage.place().is_first ? tokens_on(batch.tokens, m * size, size, device)
                                          : at::Tensor(),
         .targets = stage.place().is_last ? tokens_on(batch.targets, m * size, size, device)
                                          : at::Tensor(),
         .first_sample = batch.first_sample + m * config.batch.micro_batch_size});
  }
  return result;
}

}  // namespace cuboid
