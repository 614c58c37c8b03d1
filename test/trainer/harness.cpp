#include "trainer/harness.hpp"

#include <ATen/ops/zeros.h>

#include <utility>

#include "cuboid/base/philox.hpp"
#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid::test {

ModelConfig tiny_gpt2() {
  ModelConfig model;
  model.hidden_size = 32;
  model.num_layers = 5;
  model.num_attention_heads = 4;
  model.num_key_value_heads = 4;
  model.ffn_hidden_size = 96;
  model.seq_length = 16;
  model.vocab_size = 67;
  return model;
}

ModelConfig tiny_llama() {
  ModelConfig model = tiny_gpt2();
  model.num_attention_heads = 8;
  model.num_key_value_heads = 4;
  model.normalization = Normalization::kRmsNorm;
  model.position_embedding = PositionEmbedding::kRope;
  model.activation = Activation::kSwiglu;
  model.tie_embeddings = false;
  return model;
}

Config make_config(const RunOptions& options) {
  Config config;
  config.model = options.model;
  config.parallel = {.data_parallel_size = options.shape.dp,
                     .tensor_parallel_size = options.shape.tp,
                     .pipeline_parallel_size = options.shape.pp,
                     .pipeline_schedule = options.schedule};
  config.batch = {
      .micro_batch_size = options.micro_batch_size,
      .num_microbatches = options.global_batch_size / (options.micro_batch_size * options.shape.dp),
      .global_batch_size = options.global_batch_size};
  config.optimizer.learning_rate = 1e-3;
  config.optimizer.warmup_steps = 2;
  // Small, so that several buckets are under way at once.
  config.optimizer.ddp_bucket_size = 5000;
  config.train.max_steps = options.steps;
  config.runtime.cuda_graph = options.cuda_graph;
  config.train.seed = static_cast<std::int64_t>(options.seed);
  return config;
}

Batch make_batch(const Config& config, const GridShape& shape, int dp_rank, std::int64_t step) {
  const std::int64_t per_replica = config.batch.global_batch_size / shape.dp;
  const std::int64_t length = config.model.seq_length;
  const auto random = [](std::int64_t sample, std::int64_t t) {
    return philox(99, static_cast<std::uint64_t>(sample), static_cast<std::uint64_t>(t)).word[0];
  };
  // Something to learn: small tokens are frequent.
  const auto token = [&](std::int64_t sample, std::int64_t t) {
    const auto word = static_cast<std::int64_t>(random(sample, t) >> 8);
    return word % (t % 2 == 0 ? 5 : config.model.vocab_size);
  };
  Batch batch;
  batch.consumed = step * config.batch.global_batch_size;
  batch.first_sample = batch.consumed + dp_rank * per_replica;
  for (std::int64_t sample = batch.first_sample; sample < batch.first_sample + per_replica;
       ++sample) {
    for (std::int64_t t = 0; t < length; ++t) {
      batch.tokens.push_back(token(sample, t));
      batch.targets.push_back(token(sample, t + 1));
    }
  }
  return batch;
}

std::map<std::string, at::Tensor> gather(const WeightStore& store, const at::Tensor& flat,
                                         const Grid& grid, Communicator& model_parallel) {
  // Every stage contributes zeros for the parameters of the others, in one order of names.
  std::map<std::string, at::Tensor> mine;
  std::string names;
  for (const auto& weight : store.weights()) {
    for (const auto& part : weight->parts) {
      at::Tensor whole = at::zeros(part.shape, at::kDouble);
      if (!part.is_copy && (part.shard_dim >= 0 || grid.at().tp == 0)) {
        at::Tensor box = whole;
        const auto offset = part.local_offset();
        const auto shape = part.local_shape();
        for (std::size_t d = 0; d < shape.size(); ++d) {
          box = box.narrow(static_cast<std::int64_t>(d), offset[d], shape[d]);
        }
        box.copy_(WeightStore::local_part(flat, *weight, part));
      }
      if (!part.is_copy) mine[part.name] = whole;
    }
  }
  std::map<std::string, at::Tensor> all;
  for (int stage = 0; stage < grid.shape().pp; ++stage) {
    // The stage's first TP rank tells names and shapes.
    const int root = stage * grid.shape().tp;
    std::int64_t count = static_cast<std::int64_t>(mine.size());
    model_parallel.broadcast(buffer_of(count), root);
    auto next = mine.begin();
    for (std::int64_t i = 0; i < count; ++i) {
      const bool ours = grid.at().pp == stage;
      std::vector<std::int64_t> text(128, 0);
      std::vector<std::int64_t> shape(3, 0);
      if (ours) {
        std::copy(next->first.begin(), next->first.end(), text.begin());
        shape[0] = next->second.dim();
        for (std::int64_t d = 0; d < shape[0]; ++d) {
          shape[static_cast<std::size_t>(d) + 1] = next->second.size(d);
        }
      }
      model_parallel.broadcast(buffer_of(std::span(text)), root);
      model_parallel.broadcast(buffer_of(std::span(shape)), root);
      const std::string name(text.begin(), std::find(text.begin(), text.end(), 0));
      const std::vector<std::int64_t> sizes(shape.begin() + 1, shape.begin() + 1 + shape[0]);
      at::Tensor value = ours ? next->second : at::zeros(sizes, at::kDouble);
      model_parallel.all_reduce(buffer_of(value));
      all[name] = value;
      if (ours) ++next;
    }
  }
  return all;
}

RunResult train(MPI_Comm world, const RunOptions& options) {
  const Config config = make_config(options);
  const Grid grid(world, options.shape);
  GridCommunicators communicators = make_grid_communicators(grid, options.backend, options.stream);
  Stage stage(config.model, stage_place(config.model, options.shape.pp, grid.at().pp),
              *communicators.tp,
              {.dtype = options.dtype,
               .device = options.device,
               .seed = options.seed,
               .micro_batch_size = options.micro_batch_size,
               .attention = options.attention,
               .dp = communicators.dp.get()});
  StepHooks hooks;
  if (options.said != nullptr)
    hooks.say = [&options](const std::string& line) { options.said->push_back(line); };
  TrainStep step(config, grid, communicators, stage, std::move(hooks));
  RunResult result;
  // Parameters are compared on the host, whatever the run itself communicates through.
  const auto plane = make_communicator(Backend::kMpi, grid.model_parallel(), "gather");
  result.initial = gather(stage.store(), stage.store().master(), grid, *plane);
  for (std::int64_t i = 0; i < options.steps; ++i) {
    const StepResult one = step.run(make_batch(config, options.shape, grid.at().dp, i), i);
    result.losses.push_back(one.loss);
    result.grad_norms.push_back(one.grad_norm);
  }
  result.final = gather(stage.store(), stage.store().master(), grid, *plane);
  return result;
}

}  // namespace cuboid::test
