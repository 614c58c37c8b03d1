#include "plan.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "call.hpp"

namespace shim {

Plan plan;

namespace {

std::atomic<long> num_matching{0};

struct NamedNumber {
  std::string_view name;
  int number;
};
constexpr std::array kErrors = {
    NamedNumber{"EIO", EIO},       NamedNumber{"ENOSPC", ENOSPC},
    NamedNumber{"EDQUOT", EDQUOT}, NamedNumber{"EINTR", EINTR},
    NamedNumber{"EACCES", EACCES}, NamedNumber{"EMFILE", EMFILE},
    NamedNumber{"EROFS", EROFS},   NamedNumber{"EOPNOTSUPP", EOPNOTSUPP}};

bool is_named(std::string_view name) {
  if (plan.calls == "any") return true;
  for (std::string_view rest = plan.calls; !rest.empty();) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    if (rest.substr(0, comma) == name) return true;
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return false;
}

void parse_kind(std::string_view kind) {
  const std::size_t colon = std::min(kind.find(':'), kind.size());
  const std::string_view word = kind.substr(0, colon);
  if (colon < kind.size()) plan.value = std::strtol(kind.data() + colon + 1, nullptr, 10);
  if (word == "short") plan.kind = Kind::kShort;
  if (word == "sleep") plan.kind = Kind::kSleep;
  if (word == "filesize") plan.kind = Kind::kFileSize;
  if (word == "stop") {
    plan.kind = Kind::kSignal;
    plan.value = SIGSTOP;
  }
  for (const std::string_view name : {"kill", "usr1"}) {
    if (!word.starts_with(name)) continue;
    plan.kind = Kind::kSignal;
    plan.value = name == "kill" ? SIGKILL : SIGUSR1;
    if (word.ends_with("-parent")) plan.target = Target::kParent;
    if (word.ends_with("-all")) plan.target = Target::kSiblings;
  }
  for (const NamedNumber& error : kErrors) {
    if (word != error.name) continue;
    plan.kind = Kind::kError;
    plan.value = error.number;
  }
  if (plan.kind != Kind::kNone) return;
  std::fprintf(stderr, "shim: FAULT_KIND '%s' is unknown\n", kind.data());
  std::_Exit(2);
}

const char* value_of(const char* name, const char* otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? text : otherwise;
}

long number_of(const char* name, const char* otherwise) {
  return std::strtol(value_of(name, otherwise), nullptr, 10);
}

int open_log(const char* variable) {
  const char* path = std::getenv(variable);
  if (path == nullptr) return -1;
  const long file =
      syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  const long high = syscall(SYS_fcntl, file, F_DUPFD_CLOEXEC, 900);
  syscall(SYS_close, file);
  return static_cast<int>(high);
}

__attribute__((constructor)) void read_plan() {
  plan.rank = number_of("OMPI_COMM_WORLD_RANK", "0");
  plan.log = open_log("FAULT_LOG");
  plan.exits = open_log("FAULT_EXITS");
  on_exit([](int code, void*) { note_exit(code); }, nullptr);
  plan.calls = value_of("FAULT_CALL", "any");
  plan.nth = number_of("FAULT_NTH", "1");
  plan.count = number_of("FAULT_COUNT", "1");
  const long rank = number_of("FAULT_RANK", "-1");
  const std::string_view kind = value_of("FAULT_KIND", "");
  if (!kind.empty() && (rank < 0 || rank == plan.rank)) parse_kind(kind);
  // Last: with it the shim begins.
  plan.path = value_of("FAULT_PATH", "");
}

}  // namespace

bool is_hit(std::string_view name) {
  if (plan.kind == Kind::kNone || !is_named(name)) return false;
  const long number = ++num_matching;
  return number >= plan.nth && (plan.count == 0 || number < plan.nth + plan.count);
}

}  // namespace shim
