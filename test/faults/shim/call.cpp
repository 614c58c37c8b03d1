#include "call.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <ctime>

#include "line.hpp"

namespace shim {
namespace {

// Calls of one name are counted together.
constexpr std::array<std::string_view, 12> kNames = {
    "open",      "write",  "pwrite", "fsync", "fdatasync", "ftruncate",
    "fallocate", "rename", "unlink", "close", "link",      "mkdir"};
std::array<std::atomic<long>, kNames.size()> num_calls{};

// The other ranks of this node have the same parent: mpirun, or its daemon.
void signal_siblings(int number) {
  Line name;
  name.text("/proc/").digits(getppid()).text("/task/").digits(getppid()).text("/children");
  const long file = syscall(SYS_openat, AT_FDCWD, name.c_str(), O_RDONLY | O_CLOEXEC);
  std::array<char, 1024> pids{};
  const long size = syscall(SYS_read, file, pids.data(), pids.size() - 1);
  syscall(SYS_close, file);
  pid_t pid = 0;
  for (long i = 0; i < size; ++i) {
    const char c = pids[static_cast<std::size_t>(i)];
    if (c >= '0' && c <= '9') {
      pid = pid * 10 + (c - '0');
    } else {
      if (pid != 0 && pid != getpid()) kill(pid, number);
      pid = 0;
    }
  }
}

void send_signal(int number) {
  if (plan.target == Target::kSiblings) signal_siblings(number);
  if (plan.target == Target::kParent) kill(getppid(), number);
  if (plan.target == Target::kSelf || number == SIGKILL) kill(getpid(), number);
}

}  // namespace

FilePath::FilePath(int descriptor) {
  if (plan.path.empty()) return;
  Line link;
  link.text("/proc/self/fd/").digits(descriptor);
  const long size = syscall(SYS_readlink, link.c_str(), bytes_.data(), bytes_.size());
  size_ = size > 0 ? static_cast<std::size_t>(size) : 0;
  const long flags = syscall(SYS_fcntl, descriptor, F_GETFL);
  writable_ = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

bool concerns(const Call& call) {
  return !plan.path.empty() && (call.path.find(plan.path) != std::string_view::npos ||
                                call.new_path.find(plan.path) != std::string_view::npos);
}

long count_call(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return ++num_calls[i];
  return 0;
}

void do_before(const Call& call, long number) {
  if (plan.kind == Kind::kSignal) {
    log(call, number, now_ns(), 0, 0, "signal");
    send_signal(static_cast<int>(plan.value));
  } else if (plan.kind == Kind::kSleep) {
    timespec time{.tv_sec = plan.value / 1000, .tv_nsec = plan.value % 1000 * 1'000'000};
    while (nanosleep(&time, &time) != 0 && errno == EINTR) {
    }
  } else if (plan.kind == Kind::kFileSize) {
    const auto bytes = static_cast<rlim_t>(plan.value);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = bytes};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
}

void log(const Call& call, long number, long long begin, long result, int error,
         std::string_view note) {
  if (plan.log < 0) return;
  Line line;
  line.number(begin).number(now_ns()).number(plan.rank).number(getpid()).field(call.name);
  line.number(number).field(call.mode).number(result).number(result < 0 ? error : 0);
  line.number(call.offset).number(call.bytes).field(call.head).field(note);
  line.field(call.path).text(call.new_path);
  line.end(plan.log);
}

void note_exit(int code) {
  if (plan.exits < 0) return;
  Line line;
  line.field(program_invocation_short_name).number(plan.rank).number(code).number(now_ns());
  line.end(plan.exits);
}

long long now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

}  // namespace shim
