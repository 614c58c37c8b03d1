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

std::int64_t layer(const ModelConfig& model) {
  const std::int64_t h = model.hidden_size;
  const std::int64_t kv = model.num_key_value_heads * model.head_dim();
  const std::int64_t f = model.ffn_hidden_size;
  const std::int64_t inputs = model.activation == Activation::kSwiglu ? 2 : 1;
  const std::int64_t attention =
      linear(model, h, h) + 2 * linear(model, h, kv) + linear(model, h, h);
  return 2 * norm(model) + attention + inputs * linear(model, h, f) + linear(model, f, h);
}

}  // namespace

std::int64_t num_parameters(const ModelConfig& model) {
  require(model.num_attention_heads > 0 && model.num_key_value_heads > 0 &&
              model.ffn_hidden_size > 0 && model.vocab_size > 0,
          "the model's size is asked of a resolved configuration");
  const std::int64_t embedding = model.vocab_size * model.hidden_size;
  const std::int64_t positions =
      model.has_learned_positions() ? model.seq_length * model.hidden_size : 0;
  const std::int64_t output = model.tie_embeddings ? 0 : embedding;
  return embedding + positions + model.num_layers * layer(model) + norm(model) + output;
}

double flops_per_token(const ModelConfig& model) {
  const auto attention = static_cast<double>(model.num_layers) *
                         static_cast<double>(model.hidden_size) *
                         static_cast<double>(model.seq_length);
  return 6.0 * static_cast<double>(num_parameters(model)) + 6.0 * attention;
}

double training_bytes(const ModelConfig& model, Precision precision) {
  constexpr double kFloat32Bytes = 4 + 4 + 8;
  constexpr double kBFloat16Bytes = 2 + 4 + 4 + 8;
  const double each = precision == Precision::kFloat32 ? kFloat32Bytes : kBFloat16Bytes;
  return each * static_cast<double>(num_parameters(model));
}

}  // namespace cuboid
