#include "known_name.hpp"

#include <array>
#include <utility>

#include "cuboid/base/text.hpp"
#include "cuboid/config/general_option.hpp"
#include "cuboid/config/option.hpp"

namespace cuboid {
namespace {

// Megatron-LM's options that mean something near, but not the same, and what there is instead.
constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kInstead{{
    {"load", "resume"},
    {"data-path", "data-dir"},
    {"max-position-embeddings", "seq-length"},
    {"attention-dropout", "dropout"},
    {"hidden-dropout", "dropout"},
    {"group-query-attention", "num-key-value-heads"},
    {"train-samples", "max-steps"},
    {"fp16", "dtype"},
    {"squared-relu", "activation"},
}};

std::string instead_of(std::string_view name) {
  for (const auto& [foreign, ours] : kInstead) {
    if (foreign == name) return std::string(ours);
  }
  return {};
}

}  // namespace

KnownName known_name(std::string_view written) {
  if (const Option* option = find_option(written)) {
    const OptionAlias* alias = find_alias(written);
    return {option->name, alias == nullptr ? "" : alias->value};
  }
  if (const GeneralOption* option = find_general_option(written)) return {option->name, ""};
  return {};
}

void report_unknown(std::string_view name, const std::string& place, const std::string& dashes,
                    Mistakes& mistakes) {
  std::string problem = place + "unknown option '" + dashes + shown(name) + "': ";
  const std::string ours = instead_of(name);
  const std::string near = ours.empty() ? nearest_name(name, all_option_names()) : ours;
  if (!ours.empty()) {
    problem += "see '" + dashes + ours + "'";
  } else if (!near.empty()) {
    problem += "did you mean '" + dashes + near + "'?";
  } else {
    problem += "--help lists the options";
  }
  if (!near.empty()) mistakes.doubtful.push_back(known_name(near).name);
  mistakes.problems.push_back(std::move(problem));
}

}  // namespace cuboid
