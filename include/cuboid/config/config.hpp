// The program's settings as plain structs, one for each module that reads them. A value of 0 (or an
// empty text, or unset optional) means "derive it" where the comment says so, and is written "auto"
// on command lines; resolve() fills those in. Names, defaults and ranges follow options
// (option.hpp).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace cuboid {

enum class Normalization { kLayerNorm, kRmsNorm };
enum class PositionEmbedding { kLearned, kRope };
enum class Activation { kGelu, kSwiglu };
enum class PipelineSchedule { kGpipe, kOneFOneB };
enum class LrSchedule { kCosine, kLinear, kConstant, kWsd };
enum class DeviceChoice { kAuto, kCpu, kCuda };
enum class BackendChoice { kAuto, kMpi, kNccl };
enum class Precision { kFloat32, kBFloat16 };
// LibTorch's on a GPU; CPUs have a kernel of the project's own.
enum class AttentionKernel { kAuto, kFlash, kCudnn, kEfficient };
enum class MfuConvention { kLlmC, kMegatron, kNanoGpt, kPalm };

struct ModelConfig {
  std::int64_t hidden_size = 768;
  std::int64_t num_layers = 12;
  std::int64_t num_attention_heads = 0;  // 0: hidden_size / 64
  std::int64_t num_key_value_heads = 0;  // 0: as many as attention heads
  std::int64_t ffn_hidden_size = 0;      // 0: 4 h, or 8/3 h rounded down to 64 for SwiGLU
  std::int64_t seq_length = 256;
  std::int64_t vocab_size = 0;  // 0: what the data needs
  Normalization normalization = Normalization::kLayerNorm;
  PositionEmbedding position_embedding = PositionEmbedding::kLearned;
  Activation activation = Activation::kGelu;
  bool tie_embeddings = true;
  std::optional<bool> linear_bias;  // unset: true with LayerNorm, false with RMSNorm
  double norm_epsilon = 1e-5;
  double rotary_base = 10000.0;
  double dropout = 0.0;
  double init_std = 0.02;

  [[nodiscard]] std::int64_t head_dim() const { return hidden_size / num_attention_heads; }
  [[nodiscard]] bool has_bias() const {
    return linear_bias.value_or(normalization == Normalization::kLayerNorm);
  }
  [[nodiscard]] bool has_learned_positions() const {
    return position_embedding == PositionEmbedding::kLearned;
  }
  bool operator==(const ModelConfig&) const = default;
};

struct ParallelConfig {
  std::int64_t data_parallel_size = 0;  // 0: world size / (tp * pp)
  std::int64_t tensor_parallel_size = 1;
  std::int64_t pipeline_parallel_size = 1;
  PipelineSchedule pipeline_schedule = PipelineSchedule::kOneFOneB;
  bool operator==(const ParallelConfig&) const = default;
};

struct BatchConfig {
  std::int64_t micro_batch_size = 4;   // sequences of one forward pass on one replica
  std::int64_t num_microbatches = 0;   // a step on each replica; 0: 1, or from the global size
  std::int64_t global_batch_size = 0;  // sequences a step over all replicas; 0: the product
  bool operator==(const BatchConfig&) const = default;
};

struct OptimizerConfig {
  double learning_rate = 3e-4;
  std::optional<double> min_learning_rate;  // unset: a tenth of it; constant: it
  LrSchedule lr_schedule = LrSchedule::kCosine;
  double warmup_ratio = 0.0;
  std::optional<std::int64_t> warmup_steps;  // unset: warmup_ratio * max_steps
  double weight_decay = 0.1;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.95;
  double adam_eps = 1e-8;
  double clip_grad = 1.0;                  // 0: no clipping
  std::int64_t ddp_bucket_size = 4194304;  // elements of one all-reduce of gradients
  bool operator==(const OptimizerConfig&) const = default;
};

struct TrainConfig {
  std::int64_t max_steps = 1000;
  std::int64_t seed = 1234;
  std::int64_t log_interval = 10;
  std::int64_t eval_interval = 0;  // steps between validations; 0: only at the end
  std::int64_t eval_steps = 20;    // global batches of one validation; 0: never validate
  std::int64_t time_limit = 0;     // seconds from the start of the program; 0: none
  bool operator==(const TrainConfig&) const = default;
};

struct DataConfig {
  std::string data_dir;  // empty: the text that ships with the dependencies
  bool operator==(const DataConfig&) const = default;
};

struct CheckpointConfig {
  std::string output_dir = "./checkpoints";
  std::int64_t save_interval = 0;  // steps between checkpoints; 0: only at the end
  bool save_async = false;         // write while the training goes on
  std::int64_t keep_last = 0;      // newest checkpoints that stay; 0: all
  std::int64_t keep_every = 0;     // multiples of this step stay as well; 0: no others
  std::string resume = "none";     // "none", "auto" or a checkpoint file
  bool operator==(const CheckpointConfig&) const = default;
};

// Steps that are traced one by one.
struct ProfileSteps {
  std::int64_t first = 0;  // 0: from the third step of the process on
  std::int64_t count = 0;  // 0: none
  bool operator==(const ProfileSteps&) const = default;
};

struct RuntimeConfig {
  DeviceChoice device = DeviceChoice::kAuto;
  BackendChoice comm_backend = BackendChoice::kAuto;
  // Seconds that a rank may wait for others; 0: for ever; none: see patience() in wait_clock.hpp.
  std::optional<std::int64_t> comm_timeout;
  Precision dtype = Precision::kFloat32;
  // On a GPU; auto: measured at the start, or as in the checkpoint resumed from.
  AttentionKernel attention_kernel = AttentionKernel::kAuto;
  // Whether a step's work on a GPU is captured once and replayed; unset: where that can be done.
  std::optional<bool> cuda_graph;
  std::int64_t num_threads = 0;  // threads of one rank; 0: the node's cores / its ranks
  double peak_tflops = 0;        // of one rank, for MFU; 0: known for the GPU, or measured
  MfuConvention mfu_convention = MfuConvention::kLlmC;  // how the model's FLOPs are counted
  ProfileSteps profile;
  bool operator==(const RuntimeConfig&) const = default;
};

struct Config {
  ModelConfig model;
  ParallelConfig parallel;
  BatchConfig batch;
  OptimizerConfig optimizer;
  TrainConfig train;
  DataConfig data;
  CheckpointConfig checkpoint;
  RuntimeConfig runtime;
  bool operator==(const Config&) const = default;
};

}  // namespace cuboid
