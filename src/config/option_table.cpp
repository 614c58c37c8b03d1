#include "option_table.hpp"

#include <limits>
#include <utility>

#include "codec.hpp"

// The table. Legal ranges keep every product that the program forms (parameters, tokens of a run)
// inside 64 bits; validate() checks the products that the ranges alone do not bound.

namespace cuboid {
namespace {

constexpr std::int64_t kMaxWidth = 1 << 20;
constexpr std::int64_t kMaxLayers = 1 << 14;
constexpr std::int64_t kMaxVocabulary = std::int64_t{1} << 31;
constexpr std::int64_t kMaxRanks = 1 << 20;
constexpr std::int64_t kMaxBatch = 1 << 30;
constexpr std::int64_t kMaxSteps = 1'000'000'000;

// One option in the making; the chained calls read like the line of a table.
class Entry {
 public:
  template <typename Section, typename T>
  Entry(std::string name, Section Config::* section, T Section::* field, const Codec<T>& codec,
        std::string help) {
    option_.name = std::move(name);
    option_.value_name = codec.value_name;
    option_.help = std::move(help);
    option_.legal = codec.legal;
    option_.get = [section, field, print = codec.print](const Config& config) {
      return print(config.*section.*field);
    };
    option_.set = [section, field, parse = codec.parse](Config& config, std::string_view text) {
      const auto value = parse(text);
      if (value) config.*section.*field = *value;
      return value.has_value();
    };
  }
  Entry&& alias(std::string name, std::string value = "") && {
    option_.aliases.push_back({std::move(name), std::move(value)});
    return std::move(*this);
  }
  Entry&& rival(std::string name) && {
    option_.rivals.push_back(std::move(name));
    return std::move(*this);
  }
  Option take(OptionGroup group) && {
    option_.group = group;
    return std::move(option_);
  }

 private:
  Option option_;
};

class Table {
 public:
  explicit Table(std::vector<Option>& options, OptionGroup group)
      : options_(options), group_(group) {}
  Table& add(Entry&& entry) {
    options_.push_back(std::move(entry).take(group_));
    return *this;
  }

 private:
  std::vector<Option>& options_;
  OptionGroup group_;
};

void add_sizes(Table table) {
  const auto width = integer(1, kMaxWidth);
  constexpr auto kIn = &Config::model;
  table
      .add({"hidden-size", kIn, &ModelConfig::hidden_size, width, "Width h of the residual stream"})
      .add({"num-layers", kIn, &ModelConfig::num_layers, integer(1, kMaxLayers),
            "Transformer layers"})
      .add({"num-attention-heads", kIn, &ModelConfig::num_attention_heads, or_auto(width),
            "Attention heads; auto: hidden-size / 64"})
      .add(Entry{"num-key-value-heads", kIn, &ModelConfig::num_key_value_heads, or_auto(width),
                 "Heads of keys and values (grouped queries); auto: as many as attention heads"}
               .alias("num-query-groups"))
      .add({"ffn-hidden-size", kIn, &ModelConfig::ffn_hidden_size,
            or_auto(integer(1, 16 * kMaxWidth)),
            "Inner width of the feed-forward block; auto: 4 h, or 8/3 h rounded down to a "
            "multiple of 64 with swiglu"})
      .add({"seq-length", kIn, &ModelConfig::seq_length, width, "Tokens of one sequence"})
      .add({"vocab-size", kIn, &ModelConfig::vocab_size, or_auto(integer(1, kMaxVocabulary)),
            "Rows of the vocabulary; auto: what the data needs (256 for text)"});
}

void add_kinds(Table table) {
  constexpr auto kIn = &Config::model;
  table
      .add({"normalization", kIn, &ModelConfig::normalization,
            choice<Normalization>({{"layernorm", Normalization::kLayerNorm},
                                   {"rmsnorm", Normalization::kRmsNorm},
                                   {"LayerNorm", Normalization::kLayerNorm},
                                   {"RMSNorm", Normalization::kRmsNorm}}),
            "Normalisation before each block and at the end"})
      .add(Entry{"position-embedding", kIn, &ModelConfig::position_embedding,
                 choice<PositionEmbedding>({{"learned", PositionEmbedding::kLearned},
                                            {"rope", PositionEmbedding::kRope},
                                            {"learned_absolute", PositionEmbedding::kLearned}}),
                 "Learned positions, or rotated queries and keys"}
               .alias("position-embedding-type")
               .alias("use-rotary-position-embeddings", "rope"))
      .add(Entry{"activation", kIn, &ModelConfig::activation,
                 choice<Activation>({{"gelu", Activation::kGelu}, {"swiglu", Activation::kSwiglu}}),
                 "Feed-forward activation: GELU (tanh form), or gated SiLU"}
               .alias("swiglu", "swiglu")
               .alias("openai-gelu", "gelu"))
      .add(Entry{"tie-embeddings", kIn, &ModelConfig::tie_embeddings, boolean(),
                 "One matrix for the input embedding and the output"}
               .alias("untie-embeddings-and-output-weights", "false"))
      .add(Entry{"linear-bias", kIn, &ModelConfig::linear_bias, or_unset(boolean()),
                 "Biases in linear layers; auto: true with layernorm, false with rmsnorm"}
               .alias("disable-bias-linear", "false"));
}

void add_model_numbers(Table table) {
  constexpr auto kIn = &Config::model;
  table
      .add({"norm-epsilon", kIn, &ModelConfig::norm_epsilon, real({0, Bound::kExcluded}, {1}),
            "Added to the variance in normalisations"})
      .add({"rotary-base", kIn, &ModelConfig::rotary_base, real({1}, {1e12}),
            "Base of the angles of rope"})
      .add({"dropout", kIn, &ModelConfig::dropout, real({0}, {1, Bound::kExcluded}),
            "Probability of dropping an element of the embedding or of a block's output"})
      .add(Entry{"init-std", kIn, &ModelConfig::init_std, real({0, Bound::kExcluded}, {10}),
                 "Standard deviation of initial weights; output projections are scaled by "
                 "1/sqrt(2 num-layers)"}
               .alias("init-method-std"));
}

void add_parallelism(Table table) {
  const auto ranks = integer(1, kMaxRanks);
  constexpr auto kIn = &Config::parallel;
  table
      .add({"data-parallel-size", kIn, &ParallelConfig::data_parallel_size, or_auto(ranks),
            "Replicas (DP); auto: ranks / (TP x PP)"})
      .add(Entry{"tensor-parallel-size", kIn, &ParallelConfig::tensor_parallel_size, ranks,
                 "Ranks that share each layer (TP)"}
               .alias("tensor-model-parallel-size"))
      .add(Entry{"pipeline-parallel-size", kIn, &ParallelConfig::pipeline_parallel_size, ranks,
                 "Stages that the layers are cut into (PP)"}
               .alias("pipeline-model-parallel-size"))
      .add({"pipeline-schedule", kIn, &ParallelConfig::pipeline_schedule,
            choice<PipelineSchedule>(
                {{"gpipe", PipelineSchedule::kGpipe}, {"1f1b", PipelineSchedule::kOneFOneB}}),
            "Order of forward and backward passes on a stage"});
}

void add_batch(Table table) {
  const auto sequences = integer(1, kMaxBatch);
  constexpr auto kIn = &Config::batch;
  table
      .add({"micro-batch-size", kIn, &BatchConfig::micro_batch_size, integer(1, kMaxRanks),
            "Sequences of one forward pass on one replica"})
      .add(Entry{"num-microbatches", kIn, &BatchConfig::num_microbatches,
                 or_auto(integer(1, kMaxRanks)),
                 "Micro-batches of one step on each replica; auto: from global-batch-size, or 1"}
               .rival("global-batch-size"))
      .add(Entry{"global-batch-size", kIn, &BatchConfig::global_batch_size, or_auto(sequences),
                 "Sequences of one step over all replicas; auto: micro-batch-size x "
                 "num-microbatches x DP"}
               .rival("num-microbatches"));
}

void add_learning_rate(Table table) {
  const auto rate = real({0}, {10});
  constexpr auto kIn = &Config::optimizer;
  table
      .add(Entry{"learning-rate", kIn, &OptimizerConfig::learning_rate, rate,
                 "Highest learning rate"}
               .alias("lr"))
      .add(Entry{"min-learning-rate", kIn, &OptimizerConfig::min_learning_rate, or_unset(rate),
                 "Where the decay ends; auto: a tenth of learning-rate"}
               .alias("min-lr"))
      .add(Entry{"lr-schedule", kIn, &OptimizerConfig::lr_schedule,
                 choice<LrSchedule>({{"cosine", LrSchedule::kCosine},
                                     {"linear", LrSchedule::kLinear},
                                     {"constant", LrSchedule::kConstant},
                                     {"wsd", LrSchedule::kWsd},
                                     {"WSD", LrSchedule::kWsd}}),
                 "Decay after warm-up; wsd: warm up, stay, decay at the end"}
               .alias("lr-decay-style"))
      .add(Entry{"warmup-ratio", kIn, &OptimizerConfig::warmup_ratio, real({0}, {1}),
                 "Share of max-steps that warms up"}
               .alias("lr-warmup-fraction")
               .rival("warmup-steps"))
      .add(Entry{"warmup-steps", kIn, &OptimizerConfig::warmup_steps,
                 or_unset(integer(0, kMaxSteps)),
                 "Steps of linear warm-up; auto: warmup-ratio x max-steps"}
               .alias("lr-warmup-iters")
               .rival("warmup-ratio"));
}

void add_adam(Table table) {
  const auto beta = real({0}, {1, Bound::kExcluded});
  constexpr auto kIn = &Config::optimizer;
  table
      .add({"weight-decay", kIn, &OptimizerConfig::weight_decay, real({0}, {10}),
            "AdamW's decay, applied to matrices only"})
      .add({"adam-beta1", kIn, &OptimizerConfig::adam_beta1, beta, "Decay of the first moment"})
      .add({"adam-beta2", kIn, &OptimizerConfig::adam_beta2, beta, "Decay of the second moment"})
      .add({"adam-eps", kIn, &OptimizerConfig::adam_eps, real({0, Bound::kExcluded}, {1}),
            "Added to the root of the second moment"})
      .add({"clip-grad", kIn, &OptimizerConfig::clip_grad, real({0}, {1e6}),
            "Largest norm of the whole gradient; 0: no clipping"})
      .add({"ddp-bucket-size", kIn, &OptimizerConfig::ddp_bucket_size,
            integer(1, std::int64_t{1} << 40), "Elements of one all-reduce of gradients"});
}

void add_training(Table table) {
  const auto steps = integer(1, kMaxSteps);
  const auto interval = integer(0, kMaxSteps);
  constexpr auto kIn = &Config::train;
  table
      .add(Entry{"max-steps", kIn, &TrainConfig::max_steps, steps, "Optimizer steps of the run"}
               .alias("train-iters"))
      .add({"seed", kIn, &TrainConfig::seed, integer(0, std::numeric_limits<std::int64_t>::max()),
            "Seed of initial weights, sample order and dropout"})
      .add({"log-interval", kIn, &TrainConfig::log_interval, steps,
            "Steps between lines of progress"})
      .add({"eval-interval", kIn, &TrainConfig::eval_interval, interval,
            "Steps between validations; 0: only at the end"})
      .add(Entry{"eval-steps", kIn, &TrainConfig::eval_steps, interval,
                 "Global batches of one validation; 0: never validate"}
               .alias("eval-iters"))
      .add(Entry{"time-limit", kIn, &TrainConfig::time_limit, or_auto(duration()),
                 "Save in time before this much time has passed, and end with exit code 75; auto: "
                 "the end of the SLURM job, where there is one"}
               .alias("exit-duration-in-mins"));
}

void add_data_and_output(Table table) {
  auto resume = path("auto|FILE|none");
  resume.legal = "auto, none, or " + resume.legal;
  constexpr auto kSave = &Config::checkpoint;
  table
      .add({"data-dir", &Config::data, &DataConfig::data_dir, or_auto(path("PATH")),
            "Folder or file of text or of token files; auto: the text that the demo trains on"})
      .add(Entry{"output-dir", kSave, &CheckpointConfig::output_dir, path("DIR"),
                 "Folder for checkpoints and metrics.jsonl"}
               .alias("save"))
      .add({"save-interval", kSave, &CheckpointConfig::save_interval, integer(0, kMaxSteps),
            "Steps between checkpoints; 0: only at the end"})
      .add(Entry{"save-async", kSave, &CheckpointConfig::save_async, boolean(),
                 "Write checkpoints in the background, from a copy in memory"}
               .alias("async-save", "true"))
      .add({"keep-last", kSave, &CheckpointConfig::keep_last, integer(0, kMaxSteps),
            "Newest checkpoints that stay; older ones go once a new one is proven; 0: all stay"})
      .add(Entry{"keep-every", kSave, &CheckpointConfig::keep_every, integer(0, kMaxSteps),
                 "Checkpoints of multiples of this step stay as well; 0: no others"}
               .alias("save-retain-interval"))
      .add({"resume", kSave, &CheckpointConfig::resume, resume,
            "Checkpoint to go on from; auto: the newest whole one of output-dir, or from the "
            "start where there is none"});
}

void add_runtime(Table table) {
  constexpr std::int64_t kDay = 24 * 3600;
  constexpr auto kIn = &Config::runtime;
  auto seconds = or_unset(integer(0, kDay));
  seconds.value_name = "SECONDS|auto";
  table
      .add({"device", kIn, &RuntimeConfig::device,
            choice<DeviceChoice>({{"auto", DeviceChoice::kAuto},
                                  {"cpu", DeviceChoice::kCpu},
                                  {"cuda", DeviceChoice::kCuda}}),
            "Where tensors live; auto: cuda where there is a GPU"})
      .add(Entry{"comm-backend", kIn, &RuntimeConfig::comm_backend,
                 choice<BackendChoice>({{"auto", BackendChoice::kAuto},
                                        {"mpi", BackendChoice::kMpi},
                                        {"nccl", BackendChoice::kNccl}}),
                 "What carries collectives; auto: nccl on GPUs, mpi on CPUs"}
               .alias("distributed-backend"))
      .add({"comm-timeout", kIn, &RuntimeConfig::comm_timeout, seconds,
            "Seconds that a rank may wait for others before all ranks end with exit code 6 and a "
            "report of who did not come; 0: for ever; auto: 1800 until the first step is done, "
            "then 300, or ten times the longest step if that is more"})
      .add(Entry{"dtype", kIn, &RuntimeConfig::dtype,
                 choice<Precision>({{"fp32", Precision::kFloat32}, {"bf16", Precision::kBFloat16}}),
                 "Precision of weights and activations; with bf16, master weights, gradients and "
                 "moments stay fp32"}
               .alias("bf16", "bf16"))
      .add({"attention-kernel", kIn, &RuntimeConfig::attention_kernel,
            choice<AttentionKernel>({{"auto", AttentionKernel::kAuto},
                                     {"flash", AttentionKernel::kFlash},
                                     {"cudnn", AttentionKernel::kCudnn},
                                     {"efficient", AttentionKernel::kEfficient}}),
            "LibTorch's attention on the GPU; auto: that of the checkpoint resumed from, else the "
            "fastest at the run's shape, measured at the start"})
      .add(
          {"cuda-graph", kIn, &RuntimeConfig::cuda_graph, or_unset(boolean()),
           "Capture a step's work on the GPU into a CUDA graph and replay it; auto: where that can "
           "be done (one stage, and NCCL where there are several ranks)"})
      .add({"num-threads", kIn, &RuntimeConfig::num_threads, or_auto(integer(1, 4096)),
            "Threads of one rank; auto: the node's cores / its ranks"})
      .add({"peak-tflops", kIn, &RuntimeConfig::peak_tflops,
            or_auto(real({0, Bound::kExcluded}, {1e6})),
            "Peak of one rank in TFLOP/s, for MFU; auto: known for the GPU, or measured"})
      .add({"mfu-convention", kIn, &RuntimeConfig::mfu_convention,
            choice<MfuConvention>({{"llmc", MfuConvention::kLlmC},
                                   {"megatron", MfuConvention::kMegatron},
                                   {"nanogpt", MfuConvention::kNanoGpt},
                                   {"palm", MfuConvention::kPalm}}),
            "Whose count of FLOPs a token MFU uses; they differ by up to 8 % and more with long "
            "sequences"})
      .add({"profile", kIn, &RuntimeConfig::profile, profile_steps(kMaxSteps),
            "Steps whose every action is traced into OUTPUT_DIR/trace-steps-FIRST-LAST.json (opens "
            "in Perfetto); a number: so many, from the third of the run on"});
}

}  // namespace

std::vector<Option> make_options() {
  std::vector<Option> table;
  const Table model(table, OptionGroup::kModel);
  const Table optimizer(table, OptionGroup::kOptimizer);
  add_sizes(model);
  add_kinds(model);
  add_model_numbers(model);
  add_parallelism(Table(table, OptionGroup::kParallelism));
  add_batch(Table(table, OptionGroup::kBatch));
  add_learning_rate(optimizer);
  add_adam(optimizer);
  add_training(Table(table, OptionGroup::kTraining));
  add_data_and_output(Table(table, OptionGroup::kDataAndOutput));
  add_runtime(Table(table, OptionGroup::kRuntime));
  return table;
}

}  // namespace cuboid
