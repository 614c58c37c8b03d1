#include "cuboid/app/checkpoint_arguments.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

std::string unknown_option(const std::string& word, std::span<const CheckpointOption> options) {
  std::vector<std::string> names;
  for (const CheckpointOption& option : options) names.push_back("--" + option.name);
  names.emplace_back("--help");
  const std::string near = nearest_name(word, names);
  return "unknown option '" + word + "'" + (near.empty() ? "" : ": did you mean " + near + "?") +
         "; legal are " + join(names, ", ");
}

std::optional<std::int64_t> number_in(std::string_view text, const CheckpointOption& option) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (value < option.least || value > option.most) return std::nullopt;
  return value;
}

// Reads the option at words[at], moving `at` on to its value where that is a word of its own.
// Throws UsageError.
void read_option(std::span<const std::string> words, std::size_t& at,
                 std::span<const CheckpointOption> options, CheckpointArguments& arguments) {
  const std::size_t equals = words[at].find('=');
  const std::string name = words[at].substr(0, equals);
  const auto option = std::ranges::find_if(
      options, [&](const CheckpointOption& known) { return "--" + known.name == name; });
  if (option == options.end()) throw UsageError(unknown_option(name, options));
  std::optional<std::string> text;
  if (equals != std::string::npos) text = words[at].substr(equals + 1);
  if (option->value_name.empty()) {
    if (text) throw UsageError(name + " takes no value, but was given '" + *text + "'");
    arguments.values[option->name] = 1;
    return;
  }
  if (!text && at + 1 < words.size() && !words[at + 1].starts_with("--")) text = words[++at];
  const auto value = number_in(text.value_or(""), *option);
  if (!value)
    throw UsageError(name + (text ? " '" + *text + "'" : " has no value") + ": legal is " +
                     std::to_string(option->least) + " to " + std::to_string(option->most));
  arguments.values[option->name] = *value;
}

}  // namespace

CheckpointArguments read_checkpoint_arguments(std::span<const std::string> words,
                                              std::span<const CheckpointOption> options) {
  CheckpointArguments arguments;
  std::vector<std::string> problems;
  bool only_paths = false;
  for (std::size_t at = 0; at < words.size(); ++at) {
    if (only_paths || !words[at].starts_with('-')) {
      arguments.paths.push_back(words[at]);
    } else if (words[at] == "--help" || words[at] == "-h") {
      arguments.help = true;
    } else if (words[at] == "--") {
      only_paths = true;
    } else {
      try {
        read_option(words, at, options, arguments);
      } catch (const UsageError& error) {
        problems.emplace_back(error.what());
      }
    }
  }
  if (!problems.empty()) throw UsageError(problems);
  return arguments;
}

}  // namespace cuboid
