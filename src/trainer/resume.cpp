#include "cuboid/trainer/resume.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "cuboid/base/error.hpp"
#include "cuboid/checkpoint/folder.hpp"
#include "cuboid/checkpoint/reader.hpp"
#include "cuboid/config/option.hpp"

namespace cuboid {
namespace {

template <std::size_t N>
bool is_one_of(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::ranges::find(names, name) != names.end();
}

// All of the model, but for what acts on training alone.
bool must_stay(const Option& option) {
  constexpr std::array<std::string_view, 2> kFree = {"dropout", "init-std"};
  if (option.group == OptionGroup::kModel) return !is_one_of(option.name, kFree);
  return option.name == "seed";
}

bool shapes_training(const Option& option) {
  constexpr std::array<std::string_view, 4> kOthers = {"dropout", "max-steps", "dtype",
                                                       "attention-kernel"};
  constexpr std::array<std::string_view, 3> kSameResult = {"micro-batch-size", "num-microbatches",
                                                           "ddp-bucket-size"};
  const bool group = option.group == OptionGroup::kOptimizer || option.group == OptionGroup::kBatch;
  return (group && !is_one_of(option.name, kSameResult)) || is_one_of(option.name, kOthers);
}

// Calls visit(option, value then, value now) for each option that was written down with another
// value.
template <typename Visit>
void for_each_difference(const Config& config, const Metadata& metadata, Visit&& visit) {
  for (const auto& [name, then] : metadata.options) {
    const Option* option = find_option(name);
    if (option == nullptr) continue;
    const std::string now = option->get(config);
    if (now != then) visit(*option, then, now);
  }
}

}  // namespace

ResumeChoice choose_checkpoint(const CheckpointConfig& config, std::int64_t before) {
  ResumeChoice choice;
  if (config.resume == "none") return choice;
  if (config.resume != "auto") {
    choice.path = config.resume;
    choice.metadata = read_metadata(choice.path);
    return choice;
  }
  for (const std::int64_t step : steps_in(config.output_dir)) {
    if (step >= before) continue;
    const std::string path = checkpoint_path(config.output_dir, step);
    try {
      choice.metadata = read_metadata(path);
      choice.path = path;
      return choice;
    } catch (const UsageError& error) {
      choice.passed_over.emplace_back(error.what());
    }
  }
  if (choice.passed_over.empty()) return choice;
  std::vector<std::string> problems = choice.passed_over;
  problems.push_back("--resume auto: no checkpoint of '" + config.output_dir +
                     "' can be read; legal: a file that can, or --resume none to start anew "
                     "(which moves these files into a folder beside it)");
  throw UsageError(problems);
}

std::vector<std::string> find_contradictions(const Config& config, const Metadata& metadata,
                                             const std::string& path) {
  std::vector<std::string> problems;
  for_each_difference(config, metadata,
                      [&](const Option& option, const std::string& then, const std::string& now) {
                        if (!must_stay(option)) return;
                        const std::string name = "--" + option.name + " ";
                        problems.push_back(name + now + " contradicts checkpoint '" + path +
                                           "', which was saved with " + name + then +
                                           "; legal: " + name + then + ", or --resume none");
                      });
  return problems;
}

std::vector<std::string> find_changes(const Config& config, const Metadata& metadata) {
  std::vector<std::string> changes;
  for_each_difference(config, metadata,
                      [&](const Option& option, const std::string& then, const std::string& now) {
                        if (shapes_training(option))
                          changes.push_back(option.name + " " + then + " -> " + now);
                      });
  return changes;
}

}  // namespace cuboid
