#include <algorithm>
#include <utility>

#include "cuboid/config/config_file.hpp"
#include "cuboid/config/general_option.hpp"
#include "known_name.hpp"
#include "small_file.hpp"
#include "source.hpp"

namespace cuboid {
namespace {

// A file with more mistakes is no file of options; the rest of it would only be noise.
constexpr std::size_t kMostProblemsOfAFile = 20;

// Adds the setting of one line, or a problem.
void read_line(const ConfigLine& line, const std::string& path, std::vector<Setting>& settings,
               Mistakes& mistakes) {
  const std::string source = shown(path) + ":" + std::to_string(line.number);
  const std::string written = source + ": " + shown(line.key) + " = " + shown(line.value);
  const KnownName known = known_name(line.key);
  const auto complain = [&](const std::string& problem) {
    mistakes.problems.push_back(problem);
    if (!known.name.empty()) mistakes.doubtful.push_back(known.name);
  };
  if (!line.problem.empty()) return complain(source + ": " + line.problem);
  if (known.name.empty()) return report_unknown(line.key, source + ": ", "", mistakes);
  const GeneralOption* general = find_general_option(known.name);
  if (general != nullptr && general->meaning != General::kPreset) {
    return complain(written + ": legal on the command line only");
  }
  if (!known.fixed_value.empty() && line.value != "true") {
    return complain(written + ": legal: true (or leave the line out)");
  }
  const auto earlier = std::find_if(settings.begin(), settings.end(),
                                    [&](const Setting& s) { return s.name == known.name; });
  if (earlier != settings.end()) {
    return complain(written + ": given twice (also in " + earlier->written + "); legal: once");
  }
  settings.push_back({.name = known.name,
                      .value = known.fixed_value.empty() ? line.value : known.fixed_value,
                      .written = written,
                      .source = source});
}

}  // namespace

std::vector<Setting> read_config_file(const std::string& path, Mistakes& mistakes) {
  std::string problem;
  const auto text = read_small_file(path, problem);
  if (!text) {
    mistakes.problems.push_back("--config " + shown(path) + ": " + problem);
    doubt_everything(mistakes);
    return {};
  }
  std::vector<Setting> settings;
  const std::size_t before = mistakes.problems.size();
  for (const auto& line : parse_config_text(*text)) {
    read_line(line, path, settings, mistakes);
    if (mistakes.problems.size() - before == kMostProblemsOfAFile) {
      mistakes.problems.push_back("--config " + shown(path) +
                                  ": too many problems, the rest of the file was not read");
      break;
    }
  }
  return settings;
}

}  // namespace cuboid
