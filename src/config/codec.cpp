#include "codec.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <system_error>

#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

constexpr std::size_t kLongestPath = 4096;

template <typename T>
std::optional<T> whole_text(std::string_view text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || at != end) return std::nullopt;
  return value;
}

std::string shortest(double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

bool is_within(double value, Bound low, Bound high) {
  const bool above = low.kind == Bound::kIncluded ? value >= low.value : value > low.value;
  const bool below = high.kind == Bound::kIncluded ? value <= high.value : value < high.value;
  return above && below;
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

constexpr std::int64_t kDay = 24 * 3600;

// The numbers of "1:02:03"; none where a part is no number.
std::optional<std::vector<std::int64_t>> parts_of(std::string_view text) {
  std::vector<std::int64_t> parts;
  while (true) {
    const std::size_t colon = text.find(':');
    const auto part = whole_text<std::int64_t>(text.substr(0, colon));
    if (!part || *part < 0 || *part > 1000 * kDay) return std::nullopt;
    parts.push_back(*part);
    if (colon == std::string_view::npos) return parts;
    text.remove_prefix(colon + 1);
  }
}

std::optional<std::int64_t> seconds_of(std::string_view text) {
  const std::size_t dash = text.find('-');
  const bool has_days = dash != std::string_view::npos;
  const auto days = has_days ? whole_text<std::int64_t>(text.substr(0, dash)) : 0;
  auto parts = parts_of(has_days ? text.substr(dash + 1) : text);
  if (!days || *days < 0 || *days > 1000 || !parts || parts->size() > 3) return std::nullopt;
  // After days the first part is hours; without them a single one, or the first of two, is minutes.
  if (!has_days && parts->size() < 3) parts->insert(parts->begin(), 0);
  parts->resize(3);
  const std::int64_t seconds = *days * kDay + (*parts)[0] * 3600 + (*parts)[1] * 60 + (*parts)[2];
  if (seconds < 1 || seconds > 1000 * kDay) return std::nullopt;
  return seconds;
}

std::string slurm_time(std::int64_t seconds) {
  const std::string days = seconds >= kDay ? std::to_string(seconds / kDay) + "-" : "";
  return days + format("%02ld:%02ld:%02ld", static_cast<long>(seconds % kDay / 3600),
                       static_cast<long>(seconds % 3600 / 60), static_cast<long>(seconds % 60));
}

template <typename T>
Codec<T> with_auto(const Codec<T>& codec) {
  return {codec.value_name + "|auto", "auto, or " + codec.legal,
          [parse = codec.parse](std::string_view text) {
            return text == "auto" ? std::optional<T>(T{}) : parse(text);
          },
          [print = codec.print](const T& value) { return value == T{} ? "auto" : print(value); }};
}

}  // namespace

Codec<std::int64_t> integer(std::int64_t low, std::int64_t high) {
  return {"N", "a whole number from " + std::to_string(low) + " to " + std::to_string(high),
          [low, high](std::string_view text) {
            auto value = whole_text<std::int64_t>(text);
            if (value && (*value < low || *value > high)) value.reset();
            return value;
          },
          [](const std::int64_t& value) { return std::to_string(value); }};
}

Codec<double> real(Bound low, Bound high) {
  const std::string from = low.kind == Bound::kIncluded ? "from " : "above ";
  const std::string to = high.kind == Bound::kIncluded ? " to " : " to below ";
  return {"X", "a number " + from + shortest(low.value) + to + shortest(high.value),
          [low, high](std::string_view text) {
            auto value = whole_text<double>(text);
            // Bounds are finite, and a NaN compares with nothing: neither gets through.
            if (value && !is_within(*value, low, high)) value.reset();
            if (value) *value += 0.0;  // -0 is written as 0
            return value;
          },
          [](const double& value) { return shortest(value); }};
}

Codec<bool> boolean() {
  return choice<bool>({{"true", true}, {"false", false}});
}

Codec<std::int64_t> duration() {
  return {"TIME",
          "a time as SLURM writes it, from 0:01 to 1000 days: MIN, MIN:SEC, H:MIN:SEC, DAYS-H, "
          "DAYS-H:MIN or DAYS-H:MIN:SEC",
          seconds_of, slurm_time};
}

Codec<ProfileSteps> profile_steps(std::int64_t max_step) {
  constexpr std::int64_t kMost = 10'000;
  return {
      "STEPS", "none, a number of steps from 1 to 10000, or FIRST-LAST with as many steps at most",
      [max_step](std::string_view text) -> std::optional<ProfileSteps> {
        if (text == "none") return ProfileSteps{};
        const std::size_t dash = text.find('-', 1);
        const auto first = whole_text<std::int64_t>(text.substr(0, dash));
        if (!first || *first < 1 || *first > max_step) return std::nullopt;
        if (dash == std::string_view::npos) {
          return *first <= kMost ? std::optional(ProfileSteps{.count = *first}) : std::nullopt;
        }
        const auto last = whole_text<std::int64_t>(text.substr(dash + 1));
        if (!last || *last < *first || *last > max_step || *last - *first >= kMost)
          return std::nullopt;
        return ProfileSteps{.first = *first, .count = *last - *first + 1};
      },
      [](const ProfileSteps& steps) {
        if (steps.count == 0) return std::string("none");
        if (steps.first == 0) return std::to_string(steps.count);
        return std::to_string(steps.first) + "-" + std::to_string(steps.first + steps.count - 1);
      }};
}

Codec<std::string> path(std::string value_name) {
  return {std::move(value_name), "a path without control characters, of at most 4096 bytes",
          [](std::string_view text) {
            const bool legal = !text.empty() && text.size() <= kLongestPath &&
                               std::none_of(text.begin(), text.end(), is_control);
            return legal ? std::optional<std::string>(text) : std::nullopt;
          },
          [](const std::string& value) { return value; }};
}

Codec<std::int64_t> or_auto(const Codec<std::int64_t>& codec) {
  return with_auto(codec);
}
Codec<double> or_auto(const Codec<double>& codec) {
  return with_auto(codec);
}
Codec<std::string> or_auto(const Codec<std::string>& codec) {
  return with_auto(codec);
}

}  // namespace cuboid
