// What the tests of module config share.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "cuboid/base/error.hpp"
#include "cuboid/config/parse.hpp"
#include "cuboid/config/resolve.hpp"

namespace cuboid {

inline ParseResult parsed(std::vector<std::string> arguments) {
  return parse_options(arguments);
}

// The resolved configuration on `ranks` ranks with text for data.
inline Config configured(std::vector<std::string> arguments, std::int64_t ranks = 1) {
  return finish(parse_options(arguments), {.world_size = ranks, .data = DataFacts{}});
}

// The problems that a run would report; empty when there is none.
inline std::vector<std::string> problems_of(std::vector<std::string> arguments,
                                            const Facts& facts = {}) {
  try {
    finish(parse_options(arguments), facts);
  } catch (const UsageError& error) {
    return error.problems();
  }
  return {};
}

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// A file that lives as long as the object.
class TemporaryFile {
 public:
  TemporaryFile(std::string_view name, std::string_view text)
      : path_(std::filesystem::temp_directory_path() /
              ("cuboid-" + std::to_string(::getpid()) + "-" + std::string(name))) {
    std::ofstream(path_, std::ios::binary) << text;
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace cuboid
