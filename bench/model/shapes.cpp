#include "shapes.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include <algorithm>

#include "../harness/measure.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/config/option.hpp"
#include "cuboid/config/preset.hpp"
#include "cuboid/config/resolve.hpp"
#include "cuboid/launch/device.hpp"
#include "cuboid/model/vocabulary.hpp"

namespace cuboid::harness {
namespace {

// As training does: outputs reuse the pages of the last call.
const Registration kKeepMemory(keep_freed_memory);

}  // namespace

Shape shape_of_preset(const std::string& name) {
  const Preset* preset = find_preset(name);
  require(preset != nullptr, "a shape is a preset's");
  Config config;
  for (const auto& [option, value] : preset->settings)
    require(find_option(option)->set(config, value), "presets hold legal options");
  if (config.model.vocab_size == 0) config.model.vocab_size = kByteVocabulary;
  resolve(config.model);
  constexpr std::int64_t kSmallSequence = 64;
  const bool small = config.model.seq_length <= kSmallSequence;
  const bool gpu = world().processor().device.is_cuda();
  return {name, config.model, small ? 12 : (gpu ? 8 : 1)};
}

const std::vector<Shape>& shapes() {
  static const std::vector<Shape> all = [] {
    std::vector<Shape> list;
    if (!world().settings().all) {
      const bool gpu = world().processor().device.is_cuda();
      for (const char* name : {"demo", "124m", gpu ? "7b" : "llama-160m"})
        list.push_back(shape_of_preset(name));
      return list;
    }
    for (const Preset& preset : presets())
      if (!preset.name.starts_with("tiny-") && preset.name != "shakespeare-char")  // demo's shape
        list.push_back(shape_of_preset(preset.name));
    return list;
  }();
  return all;
}

const std::vector<Type>& types() {
  static const std::vector<Type> both = {{at::kFloat, "fp32"}, {at::kBFloat16, "bf16"}};
  return both;
}

at::Tensor random_tensor(const std::vector<std::int64_t>& shape, at::ScalarType type) {
  constexpr std::int64_t kValues = 1 << 20;
  static const at::Tensor values = at::randn({kValues});
  const auto device = world().processor().device;
  at::Tensor result = at::empty(shape, at::TensorOptions(type).device(device));
  const at::Tensor flat = result.view(-1);
  const at::Tensor source = values.to(device);
  for (std::int64_t at = 0; at < flat.numel(); at += kValues) {
    const std::int64_t count = std::min(kValues, flat.numel() - at);
    flat.narrow(0, at, count).copy_(source.narrow(0, 0, count));
  }
  return result;
}

at::Tensor random_tokens(std::int64_t count, std::int64_t vocab_size) {
  return at::randint(vocab_size, {count}, at::kLong).to(world().processor().device);
}

std::vector<Product> products_of_block(const ModelConfig& model) {
  const std::int64_t h = model.hidden_size;
  const std::int64_t kv = model.num_key_value_heads * model.head_dim();
  const std::int64_t f = model.ffn_hidden_size;
  const std::int64_t ups = model.activation == Activation::kSwiglu ? 2 : 1;
  return {{"qkv", h + 2 * kv, h},
          {"attention_output", h, h},
          {"mlp_up", ups * f, h},
          {"mlp_down", h, f}};
}

Product product_of_head(const ModelConfig& model) {
  return {"head", vocabulary_shard(model.vocab_size, 1, 0).num_rows, model.hidden_size};
}

double product_flops(std::int64_t tokens, const Product& product) {
  return 2.0 * static_cast<double>(tokens) * static_cast<double>(product.outputs) *
         static_cast<double>(product.inputs);
}

double attention_flops(const Shape& shape, bool backward) {
  const auto length = static_cast<double>(shape.model.seq_length);
  const double one = length * length * static_cast<double>(shape.model.hidden_size);
  return (backward ? 5.0 : 2.0) * static_cast<double>(shape.sequences) * one;
}

double block_flops(const Shape& shape, bool backward) {
  double flops = attention_flops(shape, backward);
  for (const Product& product : products_of_block(shape.model))
    flops += (backward ? 2.0 : 1.0) * product_flops(shape.tokens(), product);
  return flops;
}

}  // namespace cuboid::harness
