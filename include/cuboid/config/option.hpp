// The one table of options. Each entry knows its name, text and legal values, and how to read and
// write its field of Config; parsing, --help, --print-config, the table of rank 0, presets and
// validation all walk this table, so that nothing about an option is written twice.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cuboid/config/config.hpp"

namespace cuboid {

enum class OptionGroup {
  kModel,
  kParallelism,
  kBatch,
  kOptimizer,
  kTraining,
  kDataAndOutput,
  kRuntime,
};

// Another name of an option: one of Megatron-LM's with the same meaning. With a `value` it is a
// switch that stands for that value (--swiglu means --activation swiglu).
struct OptionAlias {
  std::string name;
  std::string value;
};

struct Option {
  std::string name;  // without dashes, "hidden-size"
  OptionGroup group = OptionGroup::kModel;
  std::string value_name;  // as --help shows it, "N"
  std::string help;        // one sentence without the full stop
  std::string legal;       // what may be given, "1 to 1048576"
  std::vector<OptionAlias> aliases;
  // Options that say the same in another way: a source that sets this option sets those of lower
  // precedence back to their defaults.
  std::vector<std::string> rivals;
  // The field as text that `set` takes; doubles at full precision.
  std::function<std::string(const Config&)> get;
  // Reads `text` into the field; false, and nothing changed, when it is not legal.
  std::function<bool(Config&, std::string_view text)> set;
};

// Every option that has a field in Config, in canonical order, group by group.
std::span<const Option> options();
// The option of that name or alias, or nullptr.
const Option* find_option(std::string_view name);
// The alias of that name, or nullptr.
const OptionAlias* find_alias(std::string_view name);
// "Model", "Data and output", ...
std::string_view title_of(OptionGroup group);

}  // namespace cuboid
