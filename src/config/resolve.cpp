#include "cuboid/config/resolve.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

constexpr std::int64_t kHeadDim = 64;

// A tenth, rounded to 12 digits: 3e-4 gives 3e-5 and not 2.9999999999999997e-5, in print too.
double tenth_of(double value) {
  return std::strtod(format("%.12g", value / 10).c_str(), nullptr);
}

void resolve_batch(BatchConfig& batch, std::int64_t replicas) {
  if (replicas == 0) return;
  const std::int64_t round = batch.micro_batch_size * replicas;  // sequences of one micro-batch
  if (batch.num_microbatches == 0 && batch.global_batch_size == 0) batch.num_microbatches = 1;
  if (batch.num_microbatches == 0 && batch.global_batch_size % round == 0) {
    batch.num_microbatches = batch.global_batch_size / round;
  }
  if (batch.global_batch_size == 0) batch.global_batch_size = batch.num_microbatches * round;
}

void resolve_optimizer(OptimizerConfig& optimizer, std::int64_t max_steps) {
  if (!optimizer.min_learning_rate) {
    const bool decays = optimizer.lr_schedule != LrSchedule::kConstant;
    optimizer.min_learning_rate =
        decays ? tenth_of(optimizer.learning_rate) : optimizer.learning_rate;
  }
  if (!optimizer.warmup_steps) {
    optimizer.warmup_steps = std::llround(optimizer.warmup_ratio * static_cast<double>(max_steps));
  }
}

}  // namespace

void resolve(ModelConfig& model) {
  const std::int64_t h = model.hidden_size;
  if (model.num_attention_heads == 0) {
    if (h <= kHeadDim) model.num_attention_heads = 1;
    if (h % kHeadDim == 0) model.num_attention_heads = h / kHeadDim;
  }
  if (model.num_key_value_heads == 0) model.num_key_value_heads = model.num_attention_heads;
  if (model.ffn_hidden_size == 0) {
    // Megatron-LM: int((4 h * 2/3) / 64) * 64, which is 0 below h = 24.
    const std::int64_t gated = std::max<std::int64_t>(64, h / 24 * 64);
    model.ffn_hidden_size = model.activation == Activation::kSwiglu ? gated : 4 * h;
  }
  if (!model.linear_bias) model.linear_bias = model.has_bias();
}

void resolve(Config& config, const Facts& facts) {
  auto& parallel = config.parallel;
  resolve(config.model);
  if (config.model.vocab_size == 0 && facts.data) config.model.vocab_size = facts.data->vocab_size;
  const std::int64_t plane = parallel.tensor_parallel_size * parallel.pipeline_parallel_size;
  if (parallel.data_parallel_size == 0 && facts.world_size % plane == 0) {
    parallel.data_parallel_size = facts.world_size / plane;
  }
  resolve_batch(config.batch, parallel.data_parallel_size);
  resolve_optimizer(config.optimizer, config.train.max_steps);
}

Config finish(const ParseResult& parsed, const Facts& facts) {
  std::vector<std::string> problems = parsed.problems;
  for (auto& problem : find_problems(parsed.config, facts, parsed.doubtful)) {
    problems.push_back(std::move(problem));
  }
  if (!problems.empty()) throw UsageError(std::move(problems));
  Config config = parsed.config;
  resolve(config, facts);
  return config;
}

}  // namespace cuboid
