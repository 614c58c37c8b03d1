#include "trainer/resumable_run.hpp"

#include <ATen/ops/mul.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <memory>

#include "cuboid/base/error.hpp"
#include "cuboid/base/philox.hpp"
#include "cuboid/checkpoint/digest.hpp"
#include "cuboid/checkpoint/load.hpp"
#include "cuboid/checkpoint/save.hpp"
#include "cuboid/data/token_sequence.hpp"
#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid::test {
namespace {

BatchReader make_reader(const Config& config, const Grid& grid, const std::string& token_file) {
  std::vector<TokenFile> files;
  files.emplace_back(token_file);
  const auto tokens =
      std::make_shared<const TokenSequence>(std::move(files), config.model.vocab_size);
  const TrainSampler sampler(tokens->size(), config.model.seq_length,
                             static_cast<std::uint64_t>(config.train.seed));
  return {TokenSplit{tokens, {0, tokens->size()}}, order_of(sampler),
          BatchShape{.seq_length = config.model.seq_length,
                     .micro_batch_size = config.batch.micro_batch_size,
                     .num_microbatches = config.batch.num_microbatches,
                     .dp_size = grid.shape().dp,
                     .dp_rank = grid.at().dp}};
}

}  // namespace

ResumableRun::ResumableRun(MPI_Comm world, const RunOptions& options, const std::string& token_file)
    : config_(make_config(options)),
      grid_(world, options.shape),
      communicators_(make_grid_communicators(grid_, options.backend)),
      stage_(config_.model, stage_place(config_.model, options.shape.pp, grid_.at().pp),
             *communicators_.tp,
             {.dtype = options.dtype,
              .device = options.device,
              .seed = options.seed,
              .micro_batch_size = options.micro_batch_size,
              .dp = communicators_.dp.get()}),
      step_(config_, grid_, communicators_, stage_),
      reader_(make_reader(config_, grid_, token_file)) {}

Trained ResumableRun::train(std::int64_t steps) {
  Trained trained;
  Batch batch;
  for (std::int64_t i = 0; i < steps; ++i) {
    reader_.read(consumed_, batch);
    trained.losses.push_back(step_.run(batch, completed_).loss);
    trained.sample_digests.push_back(batch.digest);
    ++completed_;
    consumed_ += config_.batch.global_batch_size;
  }
  return trained;
}

void ResumableRun::save(const std::string& path, bool from_a_copy) {
  Metadata metadata;
  metadata.step = completed_;
  metadata.consumed_samples = consumed_;
  metadata.grid = grid_.shape();
  at::Tensor memory;
  const StateSlices state = from_a_copy
                                ? copy_of_shares(stage_.store(), step_.optimizer(), grid_, memory)
                                : shares_to_save(stage_.store(), step_.optimizer(), grid_);
  save_checkpoint(path, grid_.world(), state.slices, metadata);
}

void ResumableRun::load(const std::string& path) {
  const StateSlices state = state_slices(stage_.store(), step_.optimizer(), grid_);
  const Metadata metadata = load_checkpoint(path, grid_.world(), state.slices);
  restore_state(state, stage_.store(), step_.optimizer());
  step_.optimizer().set_num_steps(metadata.step);
  completed_ = metadata.step;
  consumed_ = metadata.consumed_samples;
}

std::vector<std::string> ResumableRun::differences_from(const std::vector<TensorInfo>& tensors) {
  std::vector<std::uint64_t> sums(tensors.size(), 0);
  for (const TensorSlice& slice : state_slices(stage_.store(), step_.optimizer(), grid_).slices) {
    if (!slice.writes) continue;
    const auto found = std::ranges::lower_bound(tensors, slice.name, {}, &TensorInfo::name);
    require(found != tensors.end() && found->name == slice.name, "the file has every tensor");
    sums[static_cast<std::size_t>(found - tensors.begin())] +=
        digest_sum(slice.dtype, slice.shape, slice.box(), slice.data.data);
  }
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, sums.data(), static_cast<int>(sums.size()), MPI_UINT64_T,
                          MPI_SUM, grid_.world()));
  std::vector<std::string> different = replicas_that_differ();
  for (std::size_t t = 0; t < tensors.size(); ++t)
    if (finish_digest(tensors[t].dtype, tensors[t].shape, sums[t]) != tensors[t].digest)
      different.push_back(tensors[t].name);
  return different;
}

std::vector<std::string> ResumableRun::replicas_that_differ() {
  const std::array<std::pair<const char*, at::Tensor>, 3> flats = {
      {{"replicas of parameters", stage_.store().master()},
       {"replicas of exp_avg", step_.optimizer().exp_avg()},
       {"replicas of exp_avg_sq", step_.optimizer().exp_avg_sq()}}};
  std::vector<std::string> different;
  for (const auto& [name, flat] : flats) {
    const std::vector<std::int64_t> shape = {flat.numel()};
    const std::uint64_t sum =
        digest_sum(dtype_of(flat.scalar_type()), shape, whole(shape), flat.data_ptr());
    // The largest of the digests, and of their complements: that of the smallest.
    std::array<std::uint64_t, 2> ends = {sum, ~sum};
    check_mpi(MPI_Allreduce(MPI_IN_PLACE, ends.data(), 2, MPI_UINT64_T, MPI_MAX, grid_.dp()));
    int differs = ends[0] == ~ends[1] ? 0 : 1;
    check_mpi(MPI_Allreduce(MPI_IN_PLACE, &differs, 1, MPI_INT, MPI_MAX, grid_.world()));
    if (differs != 0) different.emplace_back(name);
  }
  return different;
}

void ResumableRun::scramble() {
  for (const at::Tensor& tensor : state_slices(stage_.store(), step_.optimizer(), grid_).host)
    tensor.fill_(0.25);
}

void ResumableRun::make_up_moments() {
  const auto host = state_slices(stage_.store(), step_.optimizer(), grid_).host;
  const std::size_t count = host.size() / 3;  // parameters, then either moment in the same order
  for (std::size_t i = 0; i < count; ++i) {
    host[count + i].copy_(at::mul(host[i], 0.5));
    host[2 * count + i].copy_(at::mul(host[i], host[i]));
  }
}

void write_tokens(const std::string& path, const ModelConfig& model) {
  std::vector<std::uint16_t> ids(20000);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::uint32_t word = philox(99, 0, i).word[0] >> 8;
    // Small ids are frequent.
    ids[i] = static_cast<std::uint16_t>(word % (i % 2 == 0 ? 5 : model.vocab_size));
  }
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(ids.data()),
             static_cast<std::streamsize>(ids.size() * sizeof ids[0]));
}

}  // namespace cuboid::test
