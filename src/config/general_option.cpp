#include "cuboid/config/general_option.hpp"

#include "cuboid/base/text.hpp"
#include "cuboid/config/option.hpp"
#include "cuboid/config/preset.hpp"

namespace cuboid {
namespace {

std::vector<GeneralOption> make_general_options() {
  std::vector<std::string> names;
  for (const auto& preset : presets()) names.push_back(preset.name);
  return {
      {General::kPreset, "preset", "NAME", "Set of options to start from: " + join(names, ", ")},
      {General::kConfig, "config", "FILE",
       "File of 'name = value' lines, '#' comments; it goes before the preset"},
      {General::kPrintConfig, "print-config", "",
       "Print the configuration as --config reads it, and stop"},
      {General::kDryRun, "dry-run", "", "Check everything, print grid and sizes, and stop"},
      {General::kVersion, "version", "", "Print the versions of the program and its libraries"},
      {General::kHelp, "help", "", "Print this text (also -h)"},
  };
}

}  // namespace

std::span<const GeneralOption> general_options() {
  static const std::vector<GeneralOption> kOptions = make_general_options();
  return kOptions;
}

const GeneralOption* find_general_option(std::string_view name) {
  for (const auto& option : general_options()) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

std::vector<std::string> all_option_names() {
  std::vector<std::string> names;
  for (const auto& option : options()) {
    names.push_back(option.name);
    for (const auto& alias : option.aliases) names.push_back(alias.name);
  }
  for (const auto& option : general_options()) names.push_back(option.name);
  return names;
}

}  // namespace cuboid
