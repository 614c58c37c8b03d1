#include "cuboid/config/option.hpp"

#include "option_table.hpp"

namespace cuboid {

std::span<const Option> options() {
  static const std::vector<Option> kOptions = make_options();
  return kOptions;
}

const Option* find_option(std::string_view name) {
  for (const auto& option : options()) {
    if (option.name == name) return &option;
    for (const auto& alias : option.aliases) {
      if (alias.name == name) return &option;
    }
  }
  return nullptr;
}

const OptionAlias* find_alias(std::string_view name) {
  for (const auto& option : options()) {
    for (const auto& alias : option.aliases) {
      if (alias.name == name) return &alias;
    }
  }
  return nullptr;
}

std::string_view title_of(OptionGroup group) {
  switch (group) {
    case OptionGroup::kModel: return "Model";
    case OptionGroup::kParallelism: return "Parallelism";
    case OptionGroup::kBatch: return "Batch";
    case OptionGroup::kOptimizer: return "Optimizer";
    case OptionGroup::kTraining: return "Training";
    case OptionGroup::kDataAndOutput: return "Data and output";
    case OptionGroup::kRuntime: return "Runtime";
  }
  return "?";
}

}  // namespace cuboid
