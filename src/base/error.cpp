#include "cuboid/base/error.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

namespace cuboid {
namespace {

std::string join(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

std::string located(const std::string& what, const std::source_location& where) {
  return what + " (" + where.file_name() + ":" + std::to_string(where.line()) + ")";
}

}  // namespace

UsageError::UsageError(std::vector<std::string> problems)
    : std::runtime_error(join(problems)), problems_(std::move(problems)) {}

SystemError::SystemError(const std::string& what, std::source_location where)
    : std::runtime_error(located(what, where)) {}

void require(bool invariant, const char* what, std::source_location where) {
  if (!invariant) throw std::logic_error(located(std::string("broken invariant: ") + what, where));
}

void check_errno(bool ok, const std::string& what, std::source_location where) {
  if (!ok) throw SystemError(what + ": " + std::strerror(errno), where);
}

}  // namespace cuboid
