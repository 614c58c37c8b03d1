#include "cuboid/app/terminal.hpp"

#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <string_view>

#include "cuboid/app/speaker.hpp"

namespace cuboid {
namespace {

constexpr int kCannotBeRun = 126;  // the shell's exit codes from here to 127

std::string variable(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

std::string coloured(const char* code, const std::string& text, std::FILE* stream) {
  return has_colours(stream) ? "\033[" + std::string(code) + "m" + text + "\033[0m" : text;
}

// Lines at the left margin that begin with a capital and do not end a sentence are headings.
std::string with_bold_headings(const std::string& text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    const bool is_heading = !line.empty() && line.front() >= 'A' && line.front() <= 'Z' &&
                            std::string_view(".,;").find(line.back()) == std::string_view::npos;
    result += is_heading ? bold(line, stdout) : line;
    if (end < text.size()) result += '\n';
    at = end + 1;
  }
  return result;
}

// False where the pager could not be run and nothing was shown.
bool page(const std::string& pager, const std::string& text) {
  // The shell would say that there is no such pager; the text itself is answer enough.
  // NOLINTNEXTLINE(bugprone-command-processor): $PAGER is a shell command, by its definition.
  std::FILE* pipe = popen(("{ " + pager + "; } 2>/dev/null").c_str(), "w");
  if (pipe == nullptr) return false;
  // Who leaves the pager early closes the pipe; that is no error.
  const auto previous = std::signal(SIGPIPE, SIG_IGN);
  std::fwrite(text.data(), 1, text.size(), pipe);
  const int status = pclose(pipe);
  std::signal(SIGPIPE, previous);
  return !(WIFEXITED(status) && WEXITSTATUS(status) >= kCannotBeRun);
}

}  // namespace

bool has_colours(std::FILE* stream) {
  return is_watched(stream) && variable("NO_COLOR", "").empty() &&
         variable("TERM", "dumb") != "dumb";
}

std::string bold(const std::string& text, std::FILE* stream) {
  return coloured("1", text, stream);
}

std::string error_prefix() {
  return coloured("31", "cuboid: error:", stderr) + " ";
}

std::string warning_prefix() {
  return coloured("33", "warning:", stdout) + " ";
}

void show_in_pages(const std::string& text) {
  if (!speaks_before_mpi()) return;
  const std::string pager = variable("PAGER", "less");
  const std::string shown = has_colours(stdout) ? with_bold_headings(text) : text;
  if (is_watched(stdout) && !pager.empty()) {
    // As git asks of less: quit where one screen is enough, keep colours, leave the text standing.
    setenv("LESS", "FRX", /*overwrite=*/0);
    if (page(pager, shown)) return;
  }
  std::fputs(shown.c_str(), stdout);
}

}  // namespace cuboid
