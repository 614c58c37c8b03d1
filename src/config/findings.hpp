// Gathers what is wrong with a configuration, and the phrases that its messages are made of.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cuboid/config/resolve.hpp"

namespace cuboid {

class Findings {
 public:
  // Reports values outside their options' ranges at once and goes on with the defaults in their
  // place, so that the checks that follow can calculate with what they get.
  Findings(const Config& given, const Facts& facts, std::span<const std::string> doubtful);

  [[nodiscard]] const Config& given() const { return given_; }
  [[nodiscard]] const Config& resolved() const { return resolved_; }
  [[nodiscard]] const Facts& facts() const { return facts_; }

  // Adds a problem that follows from the values of these options; leaves it out when one of them
  // is doubtful.
  void add(std::initializer_list<std::string_view> options, std::string problem);

  // "--num-attention-heads 12 (derived)"
  [[nodiscard]] std::string value_of(std::string_view option) const;

  std::vector<std::string> take() { return std::move(problems_); }

 private:
  Config given_;
  Config resolved_;
  Facts facts_;
  std::vector<std::string> doubtful_;
  std::vector<std::string> problems_;
};

// The divisors of n > 0, rising.
std::vector<std::int64_t> divisors(std::int64_t n);
std::vector<std::int64_t> keep(std::vector<std::int64_t> values,
                               const std::function<bool(std::int64_t)>& is_wanted);
// "1, 2 or 4": at most eight of the values, those nearest to `around`; "none" when there is none.
std::string some_of(std::vector<std::int64_t> values, std::int64_t around);

}  // namespace cuboid
