#include "cuboid/config/parse.hpp"

#include <algorithm>
#include <utility>

#include "cuboid/base/text.hpp"
#include "cuboid/config/config_file.hpp"
#include "cuboid/config/general_option.hpp"
#include "cuboid/config/option.hpp"
#include "cuboid/config/preset.hpp"
#include "source.hpp"

namespace cuboid {
namespace {

// Takes the setting of a general option out of `settings`; "" when it is not there.
Setting take(General meaning, std::vector<Setting>& settings) {
  for (auto it = settings.begin(); it != settings.end(); ++it) {
    const GeneralOption* general = find_general_option(it->name);
    if (general == nullptr || general->meaning != meaning) continue;
    Setting found = std::move(*it);
    settings.erase(it);
    return found;
  }
  return {};
}

std::vector<Setting> read_preset(const Setting& wanted, Mistakes& mistakes) {
  if (wanted.name.empty()) return {};
  std::vector<std::string> names;
  for (const auto& preset : presets()) names.push_back(preset.name);
  const Preset* preset = find_preset(wanted.value);
  if (preset == nullptr) {
    const std::string near = nearest_name(wanted.value, names);
    mistakes.problems.push_back(wanted.written + ": no such preset" +
                                (near.empty() ? "" : ", did you mean '" + near + "'?") +
                                "; legal: " + join(names, ", "));
    doubt_everything(mistakes);
    return {};
  }
  std::vector<Setting> settings;
  for (const auto& [name, value] : preset->settings) {
    // Of two settings of one name the later counts: a preset may refine a family's.
    std::erase_if(settings, [&](const Setting& s) { return s.name == name; });
    settings.push_back(
        {.name = name, .value = value, .written = "", .source = "preset " + preset->name});
  }
  return settings;
}

std::vector<Setting> settings_of(const BaseSettings& base) {
  std::vector<Setting> settings;
  for (const auto& [name, value] : base.settings) {
    if (find_option(name) == nullptr) continue;
    settings.push_back({.name = name,
                        .value = value,
                        .written = base.source + ": " + config_line(name, value),
                        .source = base.source});
    settings.back().written.pop_back();
  }
  return settings;
}

void forget(const std::string& option, ParseResult& result) {
  std::erase_if(result.provenance, [&](const Provenance& p) { return p.option == option; });
}

// Lays the settings of one source over those of lower precedence.
void apply(const std::vector<Setting>& source, ParseResult& result, Mistakes& mistakes) {
  for (const auto& setting : source) {
    for (const auto& rival : find_option(setting.name)->rivals) {
      const Option* other = find_option(rival);
      other->set(result.config, other->get(Config{}));
      forget(rival, result);
    }
  }
  for (const auto& setting : source) {
    const Option* option = find_option(setting.name);
    if (option->set(result.config, setting.value)) {
      forget(option->name, result);
      result.provenance.push_back({option->name, setting.source});
    } else {
      mistakes.problems.push_back(setting.written + ": not legal; legal: " + option->legal +
                                  " (default " + option->get(Config{}) + ")");
      mistakes.doubtful.push_back(option->name);
    }
  }
}

}  // namespace

ParseResult parse_options(std::span<const std::string> arguments) {
  return parse_options(arguments, {});
}

ParseResult parse_options(std::span<const std::string> arguments, const BaseSettings& base) {
  ParseResult result;
  Mistakes mistakes;
  auto command = read_command_line(arguments, mistakes);
  result.help = !take(General::kHelp, command).name.empty();
  result.version = !take(General::kVersion, command).name.empty();
  result.print_config = !take(General::kPrintConfig, command).name.empty();
  result.dry_run = !take(General::kDryRun, command).name.empty();
  const Setting config = take(General::kConfig, command);
  std::vector<Setting> file;
  if (!config.name.empty()) file = read_config_file(config.value, mistakes);
  const Setting file_preset = take(General::kPreset, file);
  const Setting preset = take(General::kPreset, command);
  apply(settings_of(base), result, mistakes);
  apply(read_preset(preset.name.empty() ? file_preset : preset, mistakes), result, mistakes);
  apply(file, result, mistakes);
  apply(command, result, mistakes);
  result.problems = std::move(mistakes.problems);
  result.doubtful = std::move(mistakes.doubtful);
  return result;
}

}  // namespace cuboid
