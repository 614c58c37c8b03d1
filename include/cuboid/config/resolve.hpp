// Fills in what a configuration leaves to be derived, and finds what is wrong with it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cuboid/config/config.hpp"
#include "cuboid/config/parse.hpp"

namespace cuboid {

inline constexpr std::int64_t kByteVocabulary = 256;  // text is trained on as bytes

enum class DataKind { kText, kTokens };

struct DataFacts {
  DataKind kind = DataKind::kText;
  std::int64_t vocab_size = kByteVocabulary;  // the largest token id + 1
};

// What is known beside the options. Without data facts the vocabulary may stay unresolved, so that
// everything else can be checked before the data are opened.
struct Facts {
  std::int64_t world_size = 1;
  std::optional<DataFacts> data;
};

// Derive what is unset and can be; the rest stays unset. Values that are set are never changed, so
// resolving again (with more facts) is harmless. Values must be in their options' ranges.
void resolve(ModelConfig& model);
void resolve(Config& config, const Facts& facts);

// Everything that is illegal in `config` (resolved or not) with these facts, one sentence each:
// option, value and what would be legal. Checks that involve a `doubtful` option are left out.
std::vector<std::string> find_problems(const Config& config, const Facts& facts,
                                       std::span<const std::string> doubtful = {});

// What is legal but probably not meant, for a resolved configuration.
std::vector<std::string> find_warnings(const Config& config);

// The resolved configuration of a run. Throws UsageError with every problem of parsing and of the
// configuration.
Config finish(const ParseResult& parsed, const Facts& facts);

}  // namespace cuboid
