#include "small_file.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

namespace cuboid {

std::optional<std::string> read_small_file(const std::string& path, std::string& problem) {
  constexpr std::uintmax_t kLargest = 1 << 20;
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    problem = "no such file";
    return std::nullopt;
  }
  if (status.type() != std::filesystem::file_type::regular) {
    problem = error ? error.message() : "not a regular file";
    return std::nullopt;
  }
  if (std::filesystem::file_size(path, error) > kLargest || error) {
    problem = error ? error.message() : "larger than 1 MiB, so hardly a file of options";
    return std::nullopt;
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file.good() && !file.eof()) {
    problem = errno == 0 ? "cannot be read" : std::strerror(errno);
    return std::nullopt;
  }
  return text;
}

}  // namespace cuboid
