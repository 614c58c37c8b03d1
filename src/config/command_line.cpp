#include <algorithm>
#include <boost/program_options/errors.hpp>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <stdexcept>
#include <utility>

#include "cuboid/config/general_option.hpp"
#include "cuboid/config/option.hpp"
#include "known_name.hpp"
#include "small_file.hpp"
#include "source.hpp"

namespace cuboid {
namespace {

namespace po = boost::program_options;

struct Word {
  std::string text;
  std::string file;  // "@run.rsp", or empty
};

// One option with the words up to the next; the first group may begin without an option.
using Group = std::vector<Word>;

std::string place_of(const Word& word) {
  return word.file.empty() ? "" : word.file + ": ";
}
bool is_option(const std::string& text) {
  return text.rfind("--", 0) == 0;
}

// Lines that begin with '#' are comments.
std::string without_comments(const std::string& text) {
  std::string kept;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::size_t first = text.find_first_not_of(" \t", begin);
    if (first < end && text[first] != '#') kept.append(text, begin, end - begin) += '\n';
    begin = end + 1;
  }
  return kept;
}

void append_response_file(const std::string& word, std::vector<Word>& words, Mistakes& mistakes) {
  std::string problem;
  const auto text = read_small_file(word.substr(1), problem);
  if (!text) {
    mistakes.problems.push_back("response file " + shown(word) + ": " + problem);
    doubt_everything(mistakes);
    return;
  }
  try {
    for (auto& inner : po::split_unix(without_comments(*text), " \t\r\n")) {
      if (inner[0] == '@') {
        mistakes.problems.push_back("response file " + shown(word) + ": " + shown(inner) +
                                    ": a response file cannot name another");
      } else {
        words.push_back({std::move(inner), shown(word)});
      }
    }
  } catch (const std::runtime_error& error) {  // a wrong escape
    mistakes.problems.push_back("response file " + shown(word) + ": " + error.what() +
                                "; legal: \\\\, \\n and \\\"");
    doubt_everything(mistakes);
  }
}

std::vector<Group> groups_of(std::span<const std::string> arguments, Mistakes& mistakes) {
  std::vector<Word> words;
  for (const auto& argument : arguments) {
    if (argument.size() > 1 && argument[0] == '@') {
      append_response_file(argument, words, mistakes);
    } else {
      words.push_back({argument == "-h" ? "--help" : argument, ""});
    }
  }
  std::vector<Group> groups;
  for (auto& word : words) {
    if (groups.empty() || is_option(word.text)) groups.emplace_back();
    groups.back().push_back(std::move(word));
  }
  return groups;
}

po::options_description describe_names() {
  po::options_description all;
  for (const auto& name : all_option_names()) {
    const GeneralOption* general = find_general_option(name);
    const OptionAlias* alias = find_alias(name);
    const bool is_switch = general != nullptr ? general->value_name.empty()
                                              : alias != nullptr && !alias->value.empty();
    if (is_switch) {
      all.add_options()(name.c_str(), "");
    } else {
      all.add_options()(name.c_str(), po::value<std::string>(), "");
    }
  }
  return all;
}

void report_unexpected(const Word& word, const std::string& after, Mistakes& mistakes) {
  mistakes.problems.push_back(place_of(word) + "unexpected argument '" + shown(word.text) + "'" +
                              (after.empty() ? "" : " after '" + shown(after) + "'") +
                              ": options begin with -- and take at most one value");
}

std::string syntax_problem(const po::invalid_command_line_syntax& error, const KnownName& known) {
  if (error.kind() == po::invalid_syntax::extra_parameter) return " takes no value";
  const Option* option = find_option(known.name);
  const std::string legal = option == nullptr ? "a name or file" : option->legal;
  return " has no value; legal: " + legal;
}

class CommandLine {
 public:
  explicit CommandLine(Mistakes& mistakes) : mistakes_(mistakes), names_(describe_names()) {}

  void read(const Group& group) {
    const Word& head = group.front();
    const std::string name =
        is_option(head.text) ? head.text.substr(2, head.text.find('=') - 2) : "";
    if (name.empty()) {
      for (const auto& word : group) report_unexpected(word, "", mistakes_);
      return;
    }
    const KnownName known = known_name(name);
    if (known.name.empty()) {
      report_unknown(name, place_of(head), "--", mistakes_);
      return;
    }
    read_known(group, name, known);
  }
  std::vector<Setting> take() { return std::move(settings_); }

 private:
  void read_known(const Group& group, const std::string& name, const KnownName& known) {
    std::vector<std::string> texts;
    for (const auto& word : group) texts.push_back(word.text);
    // Names are matched whole (no allow_guessing), and there are no short options.
    constexpr int kStyle = po::command_line_style::allow_long |
                           po::command_line_style::long_allow_adjacent |
                           po::command_line_style::long_allow_next;
    try {
      const auto parsed = po::command_line_parser(texts).options(names_).style(kStyle).run();
      std::size_t used = 0;
      for (const auto& option : parsed.options) {
        if (option.string_key.empty()) continue;
        used += option.original_tokens.size();
        add(group.front(), name, known, option.value);
      }
      for (std::size_t i = used; i < group.size(); ++i) {
        report_unexpected(group[i], group.front().text, mistakes_);
      }
    } catch (const po::invalid_command_line_syntax& error) {
      mistakes_.problems.push_back(place_of(group.front()) + "--" + name +
                                   syntax_problem(error, known));
      mistakes_.doubtful.push_back(known.name);
    }
  }

  // `values` is empty for a switch.
  void add(const Word& head, const std::string& name, const KnownName& known,
           const std::vector<std::string>& values) {
    Setting setting{.name = known.name,
                    .value = values.empty() ? known.fixed_value : values.front(),
                    .written = place_of(head) + "--" + name,
                    .source = head.file.empty() ? "command line" : head.file};
    if (!values.empty()) setting.written += " " + shown(setting.value);
    for (const auto& earlier : settings_) {
      if (earlier.name != setting.name) continue;
      mistakes_.problems.push_back(setting.written + ": given twice (also as " + earlier.written +
                                   "); legal: once");
      mistakes_.doubtful.push_back(setting.name);
      return;
    }
    settings_.push_back(std::move(setting));
  }

  Mistakes& mistakes_;
  po::options_description names_;
  std::vector<Setting> settings_;
};

}  // namespace

std::vector<Setting> read_command_line(std::span<const std::string> arguments, Mistakes& mistakes) {
  CommandLine line(mistakes);
  for (const auto& group : groups_of(arguments, mistakes)) line.read(group);
  return line.take();
}

}  // namespace cuboid
