#include <algorithm>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <sstream>

#include "cuboid/config/general_option.hpp"
#include "cuboid/config/option.hpp"
#include "cuboid/config/parse.hpp"

namespace cuboid {
namespace {

namespace po = boost::program_options;

constexpr unsigned kColumns = 100;
constexpr unsigned kTextColumns = 56;

// "Width h of the residual stream [a whole number from 1 to 1048576; default 768]. Also: --lr."
std::string description_of(const Option& option) {
  const std::string value = option.get(Config{});
  std::string text = option.help;
  // The words of a choice are its value's name already.
  text += option.legal == option.value_name ? " [" : " [" + option.legal + "; ";
  text += "default " + value + "].";
  for (const auto& alias : option.aliases) {
    text += &alias == &option.aliases.front() ? " Also: --" : ", --";
    text += alias.name;
  }
  return option.aliases.empty() ? text : text + ".";
}

}  // namespace

std::string help_text() {
  return "Options are '--name value' or '--name=value'; '@FILE' stands for the words of a file.\n"
         "The command line goes before --config, that before --preset, that before defaults.\n\n" +
         option_tables({});
}

std::string option_tables(std::span<const std::string> only) {
  const auto is_shown = [&](const std::string& name) {
    return only.empty() || std::ranges::find(only, name) != only.end();
  };
  std::ostringstream text;
  std::string_view title;
  for (const auto& first : options()) {
    if (title_of(first.group) == title || !is_shown(first.name)) continue;
    title = title_of(first.group);
    po::options_description group(std::string(title), kColumns, kTextColumns);
    for (const auto& option : options()) {
      if (option.group != first.group || !is_shown(option.name)) continue;
      group.add_options()(option.name.c_str(),
                          po::value<std::string>()->value_name(option.value_name),
                          description_of(option).c_str());
    }
    text << group << "\n";
  }
  po::options_description general("General", kColumns, kTextColumns);
  for (const auto& option : general_options()) {
    if (!is_shown(option.name)) continue;
    if (option.value_name.empty()) {
      general.add_options()(option.name.c_str(), option.help.c_str());
    } else {
      general.add_options()(option.name.c_str(),
                            po::value<std::string>()->value_name(option.value_name),
                            option.help.c_str());
    }
  }
  text << general;
  return text.str();
}

}  // namespace cuboid
