#include "findings.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "cuboid/config/option.hpp"
#include "mistakes.hpp"

namespace cuboid {

Findings::Findings(const Config& given, const Facts& facts, std::span<const std::string> doubtful)
    : given_(given), facts_(facts), doubtful_(doubtful.begin(), doubtful.end()) {
  const Config defaults;
  for (const auto& option : options()) {
    const std::string text = option.get(given_);
    Config trial = given_;
    if (option.set(trial, text)) continue;
    problems_.push_back("--" + option.name + " " + shown(text) + ": not legal; legal: " +
                        option.legal + " (default " + option.get(defaults) + ")");
    doubtful_.push_back(option.name);
    option.set(given_, option.get(defaults));
  }
  resolved_ = given_;
  resolve(resolved_, facts_);
}

void Findings::add(std::initializer_list<std::string_view> options, std::string problem) {
  for (const auto& name : options) {
    if (std::find(doubtful_.begin(), doubtful_.end(), name) != doubtful_.end()) return;
  }
  problems_.push_back(std::move(problem));
}

std::string Findings::value_of(std::string_view option) const {
  const Option* known = find_option(option);
  const std::string value = known->get(resolved_);
  const bool derived = value != known->get(given_);
  return "--" + known->name + " " + value + (derived ? " (derived)" : "");
}

std::vector<std::int64_t> divisors(std::int64_t n) {
  std::vector<std::int64_t> small;
  std::vector<std::int64_t> large;
  for (std::int64_t d = 1; d <= n / d; ++d) {
    if (n % d != 0) continue;
    small.push_back(d);
    if (d != n / d) large.push_back(n / d);
  }
  small.insert(small.end(), large.rbegin(), large.rend());
  return small;
}

std::vector<std::int64_t> keep(std::vector<std::int64_t> values,
                               const std::function<bool(std::int64_t)>& is_wanted) {
  std::erase_if(values, [&](std::int64_t value) { return !is_wanted(value); });
  return values;
}

std::string some_of(std::vector<std::int64_t> values, std::int64_t around) {
  constexpr std::size_t kMost = 8;
  if (values.empty()) return "none";
  std::stable_sort(values.begin(), values.end(), [around](std::int64_t a, std::int64_t b) {
    return std::abs(a - around) < std::abs(b - around);
  });
  values.resize(std::min(values.size(), kMost));
  std::sort(values.begin(), values.end());
  std::string text = std::to_string(values[0]);
  for (std::size_t i = 1; i < values.size(); ++i) {
    text += (i + 1 == values.size() ? " or " : ", ") + std::to_string(values[i]);
  }
  return text;
}

}  // namespace cuboid
