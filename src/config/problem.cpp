// find_problems: each check is one rule that ties several options, or options and facts, together.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <utility>

#include "cuboid/base/text.hpp"
#include "cuboid/config/option.hpp"
#include "cuboid/config/resolve.hpp"
#include "device_problem.hpp"
#include "findings.hpp"

namespace cuboid {
namespace {

constexpr std::int64_t kMaxGlobalBatch = 1 << 30;

// Numbers of heads that this width, TP and position embedding allow.
std::vector<std::int64_t> legal_heads(const Config& config) {
  const auto& model = config.model;
  const bool rotates = model.position_embedding == PositionEmbedding::kRope;
  return keep(divisors(model.hidden_size), [&](std::int64_t heads) {
    const bool fits = !rotates || model.hidden_size / heads % 2 == 0;
    return fits && heads % config.parallel.tensor_parallel_size == 0;
  });
}

void check_heads(Findings& findings) {
  const auto& model = findings.resolved().model;
  const std::int64_t h = model.hidden_size;
  const std::int64_t heads = model.num_attention_heads;
  const auto legal = [&] {
    return "; legal: --num-attention-heads " +
           some_of(legal_heads(findings.resolved()), heads > 0 ? heads : h / 64);
  };
  const std::string width = findings.value_of("hidden-size");
  if (heads == 0) {
    findings.add({"hidden-size", "num-attention-heads"},
                 "--num-attention-heads auto cannot be derived (64 a head): " + width +
                     " is not a multiple of 64" + legal());
  } else if (h % heads != 0) {
    findings.add({"hidden-size", "num-attention-heads"},
                 findings.value_of("num-attention-heads") + " does not divide " + width + legal());
  } else if (model.position_embedding == PositionEmbedding::kRope && h / heads % 2 != 0) {
    findings.add({"hidden-size", "num-attention-heads", "position-embedding"},
                 "--position-embedding rope needs an even width of a head, but " + width + " / " +
                     findings.value_of("num-attention-heads") + " is " + std::to_string(h / heads) +
                     legal());
  }
}

void check_key_value_heads(Findings& findings) {
  const auto& model = findings.resolved().model;
  const std::int64_t heads = model.num_attention_heads;
  if (heads == 0 || heads % model.num_key_value_heads == 0) return;
  const auto legal = keep(divisors(heads), [&](std::int64_t groups) {
    return groups % findings.resolved().parallel.tensor_parallel_size == 0;
  });
  findings.add({"num-attention-heads", "num-key-value-heads", "hidden-size"},
               findings.value_of("num-key-value-heads") + " does not divide " +
                   findings.value_of("num-attention-heads") + "; legal: --num-key-value-heads " +
                   some_of(legal, model.num_key_value_heads));
}

// What every TP size must divide.
std::int64_t tensor_parallel_unit(const ModelConfig& model) {
  const std::int64_t heads = std::gcd(model.num_attention_heads, model.num_key_value_heads);
  return std::gcd(heads, model.ffn_hidden_size);
}

void check_tensor_parallel(Findings& findings) {
  const auto& model = findings.resolved().model;
  const std::int64_t tp = findings.resolved().parallel.tensor_parallel_size;
  const auto check = [&](std::string_view option, std::int64_t value, const std::string& sizes) {
    if (value % tp == 0) return;
    findings.add({option, "tensor-parallel-size", "hidden-size", "num-attention-heads"},
                 findings.value_of(option) + " is not divisible by --tensor-parallel-size " +
                     std::to_string(tp) + "; legal: --" + std::string(option) + " " + sizes +
                     ", or --tensor-parallel-size " +
                     some_of(divisors(tensor_parallel_unit(model)), tp));
  };
  check("num-attention-heads", model.num_attention_heads,
        some_of(legal_heads(findings.resolved()), model.num_attention_heads));
  // Heads of keys and values that were derived are the attention heads: said above.
  if (findings.given().model.num_key_value_heads != 0) {
    const auto groups = keep(divisors(std::max<std::int64_t>(1, model.num_attention_heads)),
                             [&](std::int64_t value) { return value % tp == 0; });
    check("num-key-value-heads", model.num_key_value_heads,
          some_of(groups, model.num_key_value_heads));
  }
  check("ffn-hidden-size", model.ffn_hidden_size,
        "a multiple of " + std::to_string(tp) + " such as " +
            std::to_string((model.ffn_hidden_size + tp - 1) / tp * tp));
}

// Grids of this many ranks that the model allows, as "TP x PP of 1 x 2, ...".
std::string some_grids(const Findings& findings) {
  constexpr std::size_t kMost = 8;
  const auto& config = findings.resolved();
  const std::int64_t unit = tensor_parallel_unit(config.model);
  std::vector<std::pair<std::int64_t, std::string>> grids;
  for (const auto plane : divisors(findings.facts().world_size)) {
    for (const auto tp : divisors(plane)) {
      const std::int64_t pp = plane / tp;
      if (unit % tp != 0 || pp > config.model.num_layers) continue;
      const std::int64_t away = std::abs(tp - config.parallel.tensor_parallel_size) +
                                std::abs(pp - config.parallel.pipeline_parallel_size);
      grids.emplace_back(away, std::to_string(tp) + " x " + std::to_string(pp));
    }
  }
  std::stable_sort(grids.begin(), grids.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  grids.resize(std::min(grids.size(), kMost));
  std::vector<std::string> texts;
  for (const auto& grid : grids) texts.push_back(grid.second);
  return "TP x PP of " + join(texts, ", ");
}

void check_grid(Findings& findings) {
  const auto& grid = findings.resolved().parallel;
  const std::int64_t ranks = findings.facts().world_size;
  const std::int64_t plane = grid.tensor_parallel_size * grid.pipeline_parallel_size;
  const std::string product = findings.value_of("tensor-parallel-size") + " x " +
                              findings.value_of("pipeline-parallel-size");
  const std::string started = std::to_string(ranks) + (ranks == 1 ? " rank" : " ranks");
  if (findings.given().parallel.data_parallel_size != 0) {
    const std::int64_t needed = grid.data_parallel_size * plane;
    if (needed == ranks) return;
    std::string legal = std::to_string(needed) + " ranks";
    if (ranks % plane == 0) legal += ", or --data-parallel-size " + std::to_string(ranks / plane);
    findings.add({"data-parallel-size", "tensor-parallel-size", "pipeline-parallel-size"},
                 findings.value_of("data-parallel-size") + " x " + product + " is " +
                     std::to_string(needed) + " ranks, but there is a world of " + started +
                     "; legal: " + legal + ", or with " + started + " " + some_grids(findings));
  } else if (ranks % plane != 0) {
    const std::int64_t near = std::max<std::int64_t>(1, ranks / plane) * plane;
    findings.add({"tensor-parallel-size", "pipeline-parallel-size"},
                 product + " = " + std::to_string(plane) + " does not divide the world of " +
                     started +
                     "; legal: " + some_of({near, near + plane, near + 2 * plane}, ranks) +
                     " ranks, or with " + started + " " + some_grids(findings));
  }
}

void check_stages(Findings& findings) {
  const auto& config = findings.resolved();
  if (config.parallel.pipeline_parallel_size <= config.model.num_layers) return;
  findings.add({"pipeline-parallel-size", "num-layers"},
               findings.value_of("pipeline-parallel-size") + " is more stages than " +
                   findings.value_of("num-layers") + " can fill; legal: " +
                   "--pipeline-parallel-size 1 to " + std::to_string(config.model.num_layers));
}

void check_batch(Findings& findings) {
  const auto& batch = findings.resolved().batch;
  const std::int64_t dp = findings.resolved().parallel.data_parallel_size;
  if (dp == 0) return;  // the grid is wrong already
  const std::int64_t round = batch.micro_batch_size * dp;
  const std::int64_t global = batch.global_batch_size;
  const std::string replicas = " x " + std::to_string(dp) + (dp == 1 ? " replica" : " replicas");
  const std::string micro = findings.value_of("micro-batch-size");
  const auto add = [&](std::string problem) {
    findings.add({"global-batch-size", "micro-batch-size", "num-microbatches", "data-parallel-size",
                  "tensor-parallel-size", "pipeline-parallel-size"},
                 std::move(problem));
  };
  if (batch.num_microbatches == 0) {
    std::vector<std::int64_t> near{(global / round + 1) * round};
    if (global > round) near.push_back(global / round * round);
    std::string legal = "--global-batch-size " + some_of(near, global);
    if (global % dp == 0) {
      legal += ", or --micro-batch-size " + some_of(divisors(global / dp), batch.micro_batch_size);
    }
    add("--global-batch-size " + std::to_string(global) + " is not a multiple of " + micro +
        replicas + " = " + std::to_string(round) + "; legal: " + legal);
  } else if (global != batch.num_microbatches * round) {
    add(findings.value_of("global-batch-size") + " is not " + micro + " x " +
        findings.value_of("num-microbatches") + replicas + " = " +
        std::to_string(batch.num_microbatches * round) + "; legal: --global-batch-size " +
        std::to_string(batch.num_microbatches * round) + ", or one of the two auto");
  } else if (global > kMaxGlobalBatch) {
    add(findings.value_of("global-batch-size") + " is too large; legal: at most " +
        std::to_string(kMaxGlobalBatch));
  }
}

void check_run_length(Findings& findings) {
  const auto& config = findings.resolved();
  const double tokens = static_cast<double>(config.train.max_steps) *
                        static_cast<double>(config.batch.global_batch_size) *
                        static_cast<double>(config.model.seq_length);
  constexpr auto kMost = static_cast<double>(std::numeric_limits<std::int64_t>::max());
  if (tokens < kMost) return;
  findings.add(
      {"max-steps", "global-batch-size", "num-microbatches", "micro-batch-size", "seq-length"},
      findings.value_of("max-steps") + " x " + findings.value_of("global-batch-size") + " x " +
          findings.value_of("seq-length") + " is " + format("%.3g", tokens) +
          " tokens; legal: at most " + format("%.3g", kMost));
}

void check_vocabulary(Findings& findings) {
  const auto& data = findings.facts().data;
  if (!data || findings.resolved().model.vocab_size >= data->vocab_size) return;
  const std::string needed = std::to_string(data->vocab_size);
  const std::string why = data->kind == DataKind::kText
                              ? "text is trained on as bytes"
                              : "their largest token id is " + std::to_string(data->vocab_size - 1);
  findings.add({"vocab-size"}, findings.value_of("vocab-size") +
                                   " is smaller than the data need (" + why +
                                   "); legal: " + needed + " or more, or auto");
}

void check_schedule(Findings& findings) {
  const auto& optimizer = findings.resolved().optimizer;
  const auto& train = findings.resolved().train;
  const std::int64_t warmup = optimizer.warmup_steps.value_or(0);
  const std::int64_t share =
      std::llround(optimizer.warmup_ratio * static_cast<double>(train.max_steps));
  if (optimizer.warmup_ratio > 0 && warmup != share) {
    findings.add({"warmup-steps", "warmup-ratio", "max-steps"},
                 findings.value_of("warmup-steps") + " contradicts " +
                     findings.value_of("warmup-ratio") + " of " + findings.value_of("max-steps") +
                     " (" + std::to_string(share) + " steps); legal: one of the two alone");
  }
  if (optimizer.min_learning_rate.value_or(0) > optimizer.learning_rate) {
    findings.add({"min-learning-rate", "learning-rate"},
                 findings.value_of("min-learning-rate") + " is above " +
                     findings.value_of("learning-rate") + "; legal: --min-learning-rate 0 to " +
                     find_option("learning-rate")->get(findings.resolved()));
  }
}

void check_profile(Findings& findings) {
  const auto& steps = findings.resolved().runtime.profile;
  const std::int64_t last = findings.resolved().train.max_steps;
  if (steps.first <= last) return;
  findings.add({"profile", "max-steps"},
               findings.value_of("profile") + " begins after " + findings.value_of("max-steps") +
                   "; legal: --profile with steps up to " + std::to_string(last));
}

}  // namespace

std::vector<std::string> find_problems(const Config& config, const Facts& facts,
                                       std::span<const std::string> doubtful) {
  Findings findings(config, facts, doubtful);
  check_heads(findings);
  check_key_value_heads(findings);
  check_tensor_parallel(findings);
  check_grid(findings);
  check_stages(findings);
  check_batch(findings);
  check_run_length(findings);
  check_vocabulary(findings);
  check_schedule(findings);
  check_device(findings);
  check_profile(findings);
  return findings.take();
}

}  // namespace cuboid
