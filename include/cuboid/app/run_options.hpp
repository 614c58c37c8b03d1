// Which of the options each of the commands that compute takes.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cuboid/config/general_option.hpp"
#include "cuboid/config/option.hpp"
#include "cuboid/config/parse.hpp"

namespace cuboid {

// Names of what `cuboid evaluate` takes, options and general options.
std::span<const std::string> evaluation_options();

// In canonical order; `command` is "pretrain" (all of them), "evaluate" or "bench".
std::vector<const Option*> options_of(const std::string& command);
std::vector<const GeneralOption*> general_options_of(const std::string& command);

// The words of an `evaluate` command line, its files and folders apart from its options.
struct EvaluationArguments {
  std::vector<std::string> options;
  std::vector<std::string> paths;
};
EvaluationArguments split_paths(std::span<const std::string> words);

// A sentence for each option that was given and that evaluating has no use for.
std::vector<std::string> find_useless_options(const ParseResult& parsed);

}  // namespace cuboid
