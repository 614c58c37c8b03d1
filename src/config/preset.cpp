#include "cuboid/config/preset.hpp"

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/config/model_size.hpp"
#include "cuboid/config/option.hpp"
#include "cuboid/config/resolve.hpp"

namespace cuboid {
namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;

Settings shape(int hidden, int layers, int heads, int seq_length, int vocab) {
  return {{"hidden-size", std::to_string(hidden)},
          {"num-layers", std::to_string(layers)},
          {"num-attention-heads", std::to_string(heads)},
          {"seq-length", std::to_string(seq_length)},
          {"vocab-size", vocab == 0 ? "auto" : std::to_string(vocab)}};
}

Settings operator+(Settings left, const Settings& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

// What makes a model a LLaMA; biases follow from the normalisation.
Settings llama(int kv_heads, int ffn, std::string_view epsilon = "1e-05") {
  return {{"normalization", "rmsnorm"},
          {"position-embedding", "rope"},
          {"activation", "swiglu"},
          {"tie-embeddings", "false"},
          {"num-key-value-heads", std::to_string(kv_heads)},
          {"ffn-hidden-size", std::to_string(ffn)},
          {"norm-epsilon", std::string(epsilon)}};
}

// nanoGPT's recipe for characters on a CPU (config/train_shakespeare_char.py and its README).
// 145 batches of validation are the whole last tenth of tinyshakespeare.txt.
Settings character_recipe() {
  return {{"micro-batch-size", "12"},      {"global-batch-size", "12"}, {"learning-rate", "0.001"},
          {"min-learning-rate", "0.0001"}, {"lr-schedule", "cosine"},   {"warmup-steps", "100"},
          {"max-steps", "2000"},           {"adam-beta2", "0.99"},      {"dropout", "0"},
          {"eval-interval", "500"},        {"eval-steps", "145"}};
}

// Small enough for eight ranks on two cores; four micro-batches with DP 2.
Settings demo_recipe() {
  return {{"micro-batch-size", "4"}, {"global-batch-size", "32"}, {"learning-rate", "0.002"},
          {"lr-schedule", "cosine"}, {"warmup-steps", "20"},      {"max-steps", "300"},
          {"adam-beta2", "0.99"},    {"eval-interval", "100"},    {"eval-steps", "5"},
          {"log-interval", "10"}};
}

std::vector<Preset> make_presets() {
  constexpr int kGpt2Vocab = 50257;
  constexpr int kLlamaVocab = 32000;
  constexpr int kByData = 0;
  return {
      {"124m", "GPT-2", shape(768, 12, 12, 1024, kGpt2Vocab)},
      {"350m", "GPT-2 medium", shape(1024, 24, 16, 1024, kGpt2Vocab)},
      {"774m", "GPT-2 large", shape(1280, 36, 20, 1024, kGpt2Vocab)},
      {"1.5b", "GPT-2 XL", shape(1600, 48, 25, 1024, kGpt2Vocab)},
      {"2.7b", "GPT-3 2.7B's shape (as GPT-Neo)", shape(2560, 32, 32, 2048, kGpt2Vocab)},
      {"7b", "LLaMA 7B", shape(4096, 32, 32, 2048, kLlamaVocab) + llama(32, 11008, "1e-06")},
      {"llama-60m", "LLaMA of the GaLore paper",
       shape(512, 8, 8, 1024, kLlamaVocab) + llama(8, 1376, "1e-06")},
      {"smollm-135m", "SmolLM 135M",
       shape(576, 30, 9, 2048, 49152) + llama(3, 1536) + Settings{{"tie-embeddings", "true"}}},
      {"llama-160m", "LLaMA 160M (JackFram)",
       shape(768, 12, 12, 2048, kLlamaVocab) + llama(12, 3072, "1e-06")},
      {"tinyllama-1.1b", "TinyLlama 1.1B", shape(2048, 22, 32, 2048, kLlamaVocab) + llama(4, 5632)},
      {"tiny-gpt2", "GPT-2 for tests", shape(64, 4, 4, 32, kByData)},
      {"tiny-llama", "LLaMA with grouped queries for tests",
       shape(64, 4, 8, 32, kByData) + llama(4, 128)},
      {"demo", "what make train trains, on text as bytes",
       shape(128, 4, 4, 64, kByData) + demo_recipe()},
      {"shakespeare-char", "nanoGPT's character model for CPUs, with its recipe",
       shape(128, 4, 4, 64, kByData) + character_recipe()},
  };
}

Config config_of(const Preset& preset) {
  Config config;
  for (const auto& [name, value] : preset.settings) {
    const Option* option = find_option(name);
    require(option != nullptr && option->set(config, value), "presets hold legal options");
  }
  return config;
}

}  // namespace

std::span<const Preset> presets() {
  static const std::vector<Preset> kPresets = make_presets();
  return kPresets;
}

const Preset* find_preset(std::string_view name) {
  for (const auto& preset : presets()) {
    if (preset.name == name) return &preset;
  }
  return nullptr;
}

std::string presets_table() {
  std::vector<std::vector<std::string>> rows{{"preset", "layers", "hidden", "heads", "kv", "ffn",
                                              "context", "vocabulary", "parameters", "fp32", "bf16",
                                              "what"}};
  for (const auto& preset : presets()) {
    ModelConfig model = config_of(preset).model;
    if (model.vocab_size == 0) model.vocab_size = kByteVocabulary;
    resolve(model);
    rows.push_back({preset.name, std::to_string(model.num_layers),
                    std::to_string(model.hidden_size), std::to_string(model.num_attention_heads),
                    std::to_string(model.num_key_value_heads),
                    std::to_string(model.ffn_hidden_size), std::to_string(model.seq_length),
                    std::to_string(model.vocab_size), grouped(num_parameters(model)),
                    short_bytes(training_bytes(model, Precision::kFloat32)),
                    short_bytes(training_bytes(model, Precision::kBFloat16)), preset.description});
  }
  return table(rows) +
         "fp32, bf16: weights, gradients and optimizer over all ranks, 16 and 18 bytes a "
         "parameter; activations come on top.\n";
}

}  // namespace cuboid
