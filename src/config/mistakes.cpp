#include "mistakes.hpp"

#include "cuboid/base/text.hpp"
#include "cuboid/config/option.hpp"

namespace cuboid {

void doubt_everything(Mistakes& mistakes) {
  for (const auto& option : options()) mistakes.doubtful.push_back(option.name);
}

std::string shown(std::string_view text) {
  constexpr std::size_t kLongest = 60;
  std::string result;
  for (const char c : text.substr(0, kLongest)) {
    const auto code = static_cast<unsigned char>(c);
    result += code < 0x20 || code == 0x7f ? format("\\x%02x", code) : std::string(1, c);
  }
  if (text.size() > kLongest) result += "...";
  const bool quote = result.empty() || result.find(' ') != std::string::npos;
  return quote ? "'" + result + "'" : result;
}

}  // namespace cuboid
