// How one type of value is read from text and written back: the part of an option that does not
// depend on which field it fills.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cuboid/config/config.hpp"

namespace cuboid {

template <typename T>
struct Codec {
  std::string value_name;                                   // "N"
  std::string legal;                                        // "1 to 64"
  std::function<std::optional<T>(std::string_view)> parse;  // empty: not legal
  std::function<std::string(const T&)> print;
};

// A limit of a range of real numbers.
struct Bound {
  double value;
  enum Kind { kIncluded, kExcluded } kind = kIncluded;
};

// Decimal digits alone; no sign but '-', no separators, no exponent.
Codec<std::int64_t> integer(std::int64_t low, std::int64_t high);
// "0.1", "3e-4"; no infinities, no NaN. Written with the fewest digits that read back the same.
Codec<double> real(Bound low, Bound high);
Codec<bool> boolean();
// A time of at least a second as SLURM writes it, in seconds: "MIN", "MIN:SEC", "H:MIN:SEC",
// "DAYS-H", "DAYS-H:MIN" or "DAYS-H:MIN:SEC".
Codec<std::int64_t> duration();
// The path of a file or folder: not empty, no control characters, at most 4096 bytes.
// "none", a number of steps, or FIRST-LAST; of at most 10,000 steps.
Codec<ProfileSteps> profile_steps(std::int64_t max_step);
Codec<std::string> path(std::string value_name);

// The word "auto" for a value that resolve() derives: 0, an empty text or an unset optional.
Codec<std::int64_t> or_auto(const Codec<std::int64_t>& codec);
Codec<double> or_auto(const Codec<double>& codec);
Codec<std::string> or_auto(const Codec<std::string>& codec);
template <typename T>
Codec<std::optional<T>> or_unset(const Codec<T>& codec) {
  Codec<std::optional<T>> result;
  result.value_name = codec.value_name + "|auto";
  result.legal = "auto, or " + codec.legal;
  result.parse = [parse = codec.parse](std::string_view text) {
    std::optional<std::optional<T>> value;
    if (text == "auto") {
      value.emplace(std::nullopt);
    } else if (auto known = parse(text)) {
      value.emplace(std::move(known));
    }
    return value;
  };
  result.print = [print = codec.print](const std::optional<T>& value) {
    return value ? print(*value) : std::string("auto");
  };
  return result;
}

// One word for each value of an enum; further words for a value may follow its first.
template <typename Enum>
Codec<Enum> choice(std::vector<std::pair<std::string, Enum>> words) {
  std::vector<std::pair<std::string, Enum>> first;
  std::string names;
  for (const auto& word : words) {
    bool known = false;
    for (const auto& [name, value] : first) known = known || value == word.second;
    if (known) continue;
    first.push_back(word);
    names += (names.empty() ? "" : "|") + word.first;
  }
  Codec<Enum> result;
  result.value_name = names;
  result.legal = names;
  result.parse = [words = std::move(words)](std::string_view text) {
    std::optional<Enum> found;
    for (const auto& [name, value] : words) {
      if (name == text) found = value;
    }
    return found;
  };
  result.print = [first = std::move(first)](const Enum& value) {
    for (const auto& [name, known] : first) {
      if (known == value) return name;
    }
    return std::string("?");
  };
  return result;
}

}  // namespace cuboid
