#include "cuboid/app/run_options.hpp"

#include <algorithm>
#include <array>
#include <map>

#include "cuboid/app/bench_arguments.hpp"
#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

bool takes(const std::string& command, const std::string& option) {
  if (command == "pretrain") return true;
  const auto names = command == "bench" ? bench_run_options() : evaluation_options();
  return std::ranges::find(names, option) != names.end();
}

// Whether the word after "--name" is its value.
bool wants_value(const std::string& name) {
  if (const GeneralOption* general = find_general_option(name)) return !general->value_name.empty();
  if (const OptionAlias* alias = find_alias(name)) return alias->value.empty();
  return find_option(name) != nullptr;
}

}  // namespace

std::span<const std::string> evaluation_options() {
  static const std::array<std::string, 16> kNames = {"data-parallel-size",
                                                     "tensor-parallel-size",
                                                     "pipeline-parallel-size",
                                                     "micro-batch-size",
                                                     "num-microbatches",
                                                     "global-batch-size",
                                                     "eval-steps",
                                                     "data-dir",
                                                     "output-dir",
                                                     "device",
                                                     "comm-backend",
                                                     "comm-timeout",
                                                     "dtype",
                                                     "num-threads",
                                                     "dry-run",
                                                     "help"};
  return kNames;
}

std::vector<const Option*> options_of(const std::string& command) {
  std::vector<const Option*> result;
  for (const Option& option : options())
    if (takes(command, option.name)) result.push_back(&option);
  return result;
}

std::vector<const GeneralOption*> general_options_of(const std::string& command) {
  std::vector<const GeneralOption*> result;
  for (const GeneralOption& option : general_options())
    if (takes(command, option.name)) result.push_back(&option);
  return result;
}

EvaluationArguments split_paths(std::span<const std::string> words) {
  EvaluationArguments result;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const bool is_option = word.starts_with("--") || word == "-h" || word.starts_with('@');
    (is_option ? result.options : result.paths).push_back(word);
    const bool has_value = word.starts_with("--") && word.find('=') == std::string::npos &&
                           wants_value(word.substr(2)) && i + 1 < words.size() &&
                           !words[i + 1].starts_with("--");
    if (has_value) result.options.push_back(words[++i]);
  }
  return result;
}

std::vector<std::string> find_useless_options(const ParseResult& parsed) {
  std::map<std::string, std::string> useless;  // by name, with the reason
  if (parsed.print_config) useless["print-config"];
  if (parsed.version) useless["version"];
  for (const Provenance& given : parsed.provenance) {
    const bool is_word = given.source == "command line" || given.source.starts_with('@');
    if (is_word && takes("evaluate", given.option)) continue;
    const bool is_model = find_option(given.option)->group == OptionGroup::kModel;
    if (is_word) useless[given.option] = is_model ? ": the checkpoint has it" : "";
    if (!is_word) useless[given.source.starts_with("preset ") ? "preset" : "config"];
  }
  std::vector<std::string> legal;
  for (const std::string& option : evaluation_options()) legal.push_back("--" + option);
  std::vector<std::string> problems;
  for (const auto& [name, reason] : useless)
    problems.push_back("cuboid evaluate does not take --" + name + reason + "; legal are " +
                       join(legal, ", "));
  return problems;
}

}  // namespace cuboid
