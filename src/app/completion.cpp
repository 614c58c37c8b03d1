// The bash completion. What may follow an option is what its value is called in --help: words in
// lower case stand for themselves, FILE and PATH for files, DIR for folders.
#include <algorithm>
#include <cctype>
#include <map>
#include <string>
#include <vector>

#include "cuboid/app/bench_arguments.hpp"
#include "cuboid/app/checkpoint_command.hpp"
#include "cuboid/app/command.hpp"
#include "cuboid/app/guide.hpp"
#include "cuboid/app/overview.hpp"
#include "cuboid/app/run_options.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/config/general_option.hpp"
#include "cuboid/config/option.hpp"
#include "cuboid/config/preset.hpp"

namespace cuboid {
namespace {

// `{options}`, `{values}` and so on are filled in below. bash parts words at '=' too, so
// "--dtype=bf" arrives as three.
constexpr const char* kScript =
    R"(# bash completion of cuboid: source this, or put it where bash-completion looks.
_cuboid() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local command=${COMP_WORDS[1]} option='' words='' files='' prefix=''
  if [[ $current == = ]]; then
    option=$previous current=''
  elif [[ $previous == = ]]; then
    option=${COMP_WORDS[COMP_CWORD - 2]}
  elif [[ $previous == --* ]]; then
    option=$previous
  fi
  if ((COMP_CWORD == 1)); then
    words='{commands} --help --version'
  elif [[ $command == checkpoint ]] && ((COMP_CWORD == 2)); then
    words='{checkpoint_commands} --help'
  elif [[ $command == bench ]] && ((COMP_CWORD == 2)); then
    words='collectives --help'
  elif [[ $command == help ]]; then
    ((COMP_CWORD == 2)) && words='{chapters}'
  else
    # What an option's value may be; an option without a value, and no option, fall through.
    case "$command $option" in
{values}
      *)
        [[ $command == checkpoint ]] && command+=" ${COMP_WORDS[2]}"
        case "$command" in
{options}
        esac
        case "$command $current" in
          'pretrain @'* | 'evaluate @'*) files='-f' prefix='@' current=${current#@} ;;
          pretrain*) ;;
          evaluate* | checkpoint*) files='-f' ;;
        esac
        [[ $current == -* ]] && files=''
        ;;
    esac
  fi
  local reply
  COMPREPLY=()
  while IFS= read -r reply; do
    COMPREPLY+=("$reply")
  done < <(
    [[ -n $words ]] && compgen -W "$words" -- "$current"
    [[ -n $files ]] && compgen "$files" -P "$prefix" -- "$current"
  )
  [[ -n $files ]] && compopt -o filenames 2>/dev/null
  return 0
}
complete -F _cuboid cuboid
)";

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  const std::size_t at = text.find(what);
  return at == std::string::npos ? text : text.replace(at, what.size(), with);
}

template <typename List>
std::string names_of(const List& list, const std::string& dashes = "") {
  std::string names;
  for (const auto& item : list) names += (names.empty() ? "" : " ") + dashes + item.name;
  return names;
}

// "auto|FILE|none" -> words='auto none' files='-f'; "" where nothing can be proposed.
std::string proposals(const std::string& value_name) {
  std::vector<std::string> words;
  std::string files;
  for (std::size_t at = 0; at <= value_name.size();) {
    const std::size_t end = std::min(value_name.find('|', at), value_name.size());
    const std::string part = value_name.substr(at, end - at);
    if (part == "FILE" || part == "PATH") files = " files='-f'";
    if (part == "DIR") files = " files='-d'";
    if (!part.empty() && std::isupper(static_cast<unsigned char>(part.front())) == 0)
      words.push_back(part);
    at = end + 1;
  }
  return "words='" + join(words, " ") + "'" + files;
}

struct Case {
  std::vector<std::string> patterns;
  std::string action;
};

std::string case_text(const Case& one) {
  return "      " + join(one.patterns, " | ") + ") " + one.action + " ;;\n";
}

// One case for each kind of value, with all options of that kind.
std::string value_cases() {
  std::map<std::string, Case> by_kind;
  const auto add = [&](const std::string& command, const std::string& name,
                       const std::string& action) {
    Case& one = by_kind[action];
    one.action = action;
    const std::string pattern = "'" + command + " --" + name + "'";
    if (std::ranges::find(one.patterns, pattern) == one.patterns.end())
      one.patterns.push_back(pattern);
  };
  for (const BenchOption& option : bench_options())
    add("bench", option.name, proposals(option.value_name));
  for (const char* const command : {"pretrain", "evaluate", "bench"}) {
    for (const Option* option : options_of(command)) {
      add(command, option->name, proposals(option->value_name));
      for (const OptionAlias& alias : option->aliases)
        if (alias.value.empty()) add(command, alias.name, proposals(option->value_name));
    }
    for (const GeneralOption* option : general_options_of(command)) {
      if (option->value_name.empty()) continue;
      const bool is_preset = option->meaning == General::kPreset;
      add(command, option->name,
          is_preset ? "words='" + names_of(presets()) + "'" : proposals(option->value_name));
    }
  }
  for (const CheckpointCommand& command : checkpoint_commands())
    for (const CheckpointOption& option : command.options)
      if (!option.value_name.empty()) add("checkpoint", option.name, proposals(option.value_name));
  std::string text;
  for (const auto& [action, one] : by_kind) text += case_text(one);
  return text;
}

std::string option_cases() {
  std::string text;
  for (const char* const command : {"pretrain", "evaluate", "bench"}) {
    std::vector<std::string> names;
    if (command == std::string("bench")) {
      for (const BenchOption& option : bench_options()) names.push_back("--" + option.name);
      for (const Collective verb : all_collectives()) names.emplace_back(name_of(verb));
    }
    for (const Option* option : options_of(command)) names.push_back("--" + option->name);
    for (const GeneralOption* option : general_options_of(command))
      names.push_back("--" + option->name);
    text += "    " + case_text({{command}, "words='" + join(names, " ") + "'"});
  }
  for (const CheckpointCommand& command : checkpoint_commands())
    text += "    " + case_text({{"'checkpoint " + command.name + "'"},
                                "words='" + names_of(command.options, "--") + " --help'"});
  return text;
}

std::string without_last_newline(std::string text) {
  if (!text.empty()) text.pop_back();
  return text;
}

}  // namespace

std::string completion_script() {
  std::string text = replaced(kScript, "{commands}", names_of(commands()));
  text = replaced(text, "{checkpoint_commands}", names_of(checkpoint_commands()));
  text = replaced(text, "{chapters}", names_of(chapters()));
  text = replaced(text, "{values}", without_last_newline(value_cases()));
  return replaced(text, "{options}", without_last_newline(option_cases()));
}

}  // namespace cuboid
