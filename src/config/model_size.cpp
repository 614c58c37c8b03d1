#include "cuboid/config/model_size.hpp"

#include "cuboid/base/error.hpp"

namespace cuboid {
namespace {

// A linear layer of `in` x `out`.
std::int64_t linear(const ModelConfig& model, std::int64_t in, std::int64_t out) {
  return in * out + (model.has_bias() ? out : 0);
}

std::int64_t norm(const ModelConfig& model) {
  const bool has_shift = model.normalization == Normalization::kLayerNorm;
  return model.hidden_size * (has_shift ? 2 : 1);
}

std::int64_t key_value_width(const ModelConfig& model) {
  return model.num_key_value_heads * model.head_dim();
}

// Matrices from the residual stream into the feed-forward block.
std::int64_t inner_inputs(const ModelConfig& model) {
  return model.activation == Activation::kSwiglu ? 2 : 1;
}

std::int64_t layer(const ModelConfig& model) {
  const std::int64_t h = model.hidden_size;
  const std::int64_t kv = key_value_width(model);
  const std::int64_t f = model.ffn_hidden_size;
  const std::int64_t attention =
      linear(model, h, h) + 2 * linear(model, h, kv) + linear(model, h, h);
  return 2 * norm(model) + attention + inner_inputs(model) * linear(model, h, f) +
         linear(model, f, h);
}

std::int64_t positions(const ModelConfig& model) {
  return model.has_learned_positions() ? model.seq_length * model.hidden_size : 0;
}

// Megatron-LM pads its vocabulary to a multiple of 128 on each TP rank.
double multiplied_elements(const ModelConfig& model, std::int64_t tensor_parallel_size) {
  const std::int64_t unit = 128 * tensor_parallel_size;
  const std::int64_t vocabulary = (model.vocab_size + unit - 1) / unit * unit;
  const std::int64_t h = model.hidden_size;
  const std::int64_t attention = 2 * h * h + 2 * h * key_value_width(model);
  const std::int64_t inner = (inner_inputs(model) + 1) * h * model.ffn_hidden_size;
  return static_cast<double>(model.num_layers * (attention + inner) + vocabulary * h);
}

}  // namespace

std::int64_t num_parameters(const ModelConfig& model) {
  require(model.num_attention_heads > 0 && model.num_key_value_heads > 0 &&
              model.ffn_hidden_size > 0 && model.vocab_size > 0,
          "the model's size is asked of a resolved configuration");
  const std::int64_t embedding = model.vocab_size * model.hidden_size;
  const std::int64_t output = model.tie_embeddings ? 0 : embedding;
  return embedding + positions(model) + model.num_layers * layer(model) + norm(model) + output;
}

double flops_per_token(const ModelConfig& model, MfuConvention convention,
                       std::int64_t tensor_parallel_size) {
  const auto all = static_cast<double>(num_parameters(model));
  const auto attention = static_cast<double>(model.num_layers * model.hidden_size) *
                         static_cast<double>(model.seq_length);
  switch (convention) {
    case MfuConvention::kLlmC: return 6 * all + 6 * attention;
    case MfuConvention::kMegatron:
      return 6 * multiplied_elements(model, tensor_parallel_size) + 6 * attention;
    case MfuConvention::kNanoGpt:
      return 6 * (all - static_cast<double>(positions(model))) + 12 * attention;
    case MfuConvention::kPalm: return 6 * all + 12 * attention;
  }
  return 0;
}

std::string_view name_of(MfuConvention convention) {
  switch (convention) {
    case MfuConvention::kLlmC: return "llmc";
    case MfuConvention::kMegatron: return "megatron";
    case MfuConvention::kNanoGpt: return "nanogpt";
    case MfuConvention::kPalm: return "palm";
  }
  return "?";
}

std::string_view formula_of(MfuConvention convention) {
  switch (convention) {
    case MfuConvention::kLlmC: return "6 N + 6 L h T (llm.c's convention)";
    case MfuConvention::kMegatron:
      return "6 x elements of multiplied matrices + 6 L h T (Megatron-LM's convention)";
    case MfuConvention::kNanoGpt: return "6 (N - T h) + 12 L h T (nanoGPT's convention)";
    case MfuConvention::kPalm: return "6 N + 12 L h T (PaLM's convention)";
  }
  return "?";
}

double training_bytes(const ModelConfig& model, Precision precision) {
  constexpr double kFloat32Bytes = 4 + 4 + 8;
  constexpr double kBFloat16Bytes = 2 + 4 + 4 + 8;
  const double each = precision == Precision::kFloat32 ? kFloat32Bytes : kBFloat16Bytes;
  return each * static_cast<double>(num_parameters(model));
}

}  // namespace cuboid
