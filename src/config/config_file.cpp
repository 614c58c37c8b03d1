#include "cuboid/config/config_file.hpp"

#include <algorithm>

namespace cuboid {
namespace {

constexpr std::string_view kBlanks = " \t\r";

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// Text before a comment: '#' opens one at the start and after a blank, so that "a#b" is a value.
std::string_view without_comment(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool opens = i == 0 || kBlanks.find(text[i - 1]) != std::string_view::npos;
    if (text[i] == '#' && opens) return text.substr(0, i);
  }
  return text;
}

// Reads the quoted value that `text` begins with; false when it is not closed or text follows it.
bool read_quoted(std::string_view text, std::string& value) {
  std::size_t i = 1;
  for (; i < text.size() && text[i] != '"'; ++i) {
    const bool escapes =
        text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == '"' || text[i + 1] == '\\');
    if (escapes) ++i;
    value += text[i];
  }
  return i < text.size() && trimmed(without_comment(text.substr(i + 1))).empty();
}

ConfigLine parse_line(std::string_view line, int number) {
  ConfigLine result{.number = number, .key = {}, .value = {}, .problem = {}};
  const auto equals = line.find('=');
  const auto key = trimmed(line.substr(0, equals));
  if (equals == std::string_view::npos || key.empty()) {
    result.problem = "is not of the form key = value";
    return result;
  }
  const auto text = trimmed(line.substr(equals + 1));
  std::string value;
  if (!text.empty() && text[0] == '"') {
    if (!read_quoted(text, value)) {
      result.problem = "has a quoted value that is not closed, or text after it";
      return result;
    }
  } else {
    value = trimmed(without_comment(text));
  }
  result.key = key;
  result.value = value;
  return result;
}

}  // namespace

std::vector<ConfigLine> parse_config_text(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.substr(0, kByteOrderMark.size()) == kByteOrderMark) {
    text.remove_prefix(kByteOrderMark.size());
  }
  std::vector<ConfigLine> lines;
  for (int number = 1; !text.empty(); ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto line = trimmed(text.substr(0, end));
    if (!line.empty() && line[0] != '#') lines.push_back(parse_line(line, number));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string config_line(std::string_view key, std::string_view value) {
  const bool quote =
      value.find_first_of("#\"") != std::string_view::npos || trimmed(value).size() != value.size();
  std::string text(key);
  text += " = ";
  if (!quote) return text.append(value) += '\n';
  text += '"';
  for (const char c : value) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text += "\"\n";
}

}  // namespace cuboid
