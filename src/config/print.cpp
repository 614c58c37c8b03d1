#include "cuboid/config/print.hpp"

#include <algorithm>
#include <sstream>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cuboid/base/text.hpp"
#include "cuboid/config/config_file.hpp"
#include "cuboid/config/option.hpp"

namespace cuboid {

std::string config_table(const Config& config, std::span<const Provenance> provenance) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& option : options()) {
    const auto from = std::find_if(provenance.begin(), provenance.end(),
                                   [&](const auto& p) { return p.option == option.name; });
    rows.push_back({option.name, option.get(config),
                    from == provenance.end() ? "" : "(" + from->source + ")"});
  }
  // One table, so that columns align over the groups; their titles go between its lines.
  std::istringstream lines(table(rows, "  "));
  std::string text;
  std::string line;
  const Option* before = nullptr;
  for (const auto& option : options()) {
    if (before == nullptr || before->group != option.group) {
      text += std::string(title_of(option.group)) + "\n";
    }
    std::getline(lines, line);
    text += line + "\n";
    before = &option;
  }
  return text;
}

std::string config_text(const Config& config) {
  std::string text;
  for (const auto& option : options()) text += config_line(option.name, option.get(config));
  return text;
}

std::uint64_t config_hash(const Config& config) {
  const std::string text = config_text(config);
  return XXH3_64bits(text.data(), text.size());
}

}  // namespace cuboid
