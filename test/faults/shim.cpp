// A library to be preloaded (LD_PRELOAD) into ranks: logs the calls that change the files of one
// folder, and makes one of them fail, stop short, sleep, or be the last thing that the rank does.
// README.md lists the environment variables that steer it.
//
// Safe in signal handlers and threads: the calls are made as raw system calls, so is the logging;
// nothing is allocated after start-up. What a file descriptor stands for is asked of the kernel at
// each call, since files are also opened where no preloaded library sees it (inside the C library).
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>

namespace {

enum class Kind : unsigned char { kNone, kError, kShort, kSignal, kSleep, kFileSize };
enum class Target : unsigned char { kSelf, kParent, kSiblings };

// What the environment asks for; read once, before main.
struct Plan {
  std::string_view path;   // FAULT_PATH: a part of the path; none: the shim does nothing
  std::string_view calls;  // FAULT_CALL: "write,pwrite" or "any"
  long nth = 0;            // FAULT_NTH: the first such call that is hit, from 1
  long count = 1;          // FAULT_COUNT: how many are hit; 0: all that follow
  Kind kind = Kind::kNone;
  Target target = Target::kSelf;
  long value = 0;  // errno, signal, milliseconds or bytes
  int rank = 0;
  int log = -1;
  int exits = -1;
};
Plan plan;
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
// Calls of one name are counted together.
constexpr std::array<std::string_view, 12> kNames = {
    "open",      "write",  "pwrite", "fsync", "fdatasync", "ftruncate",
    "fallocate", "rename", "unlink", "close", "link",      "mkdir"};
std::array<std::atomic<long>, kNames.size()> num_calls{};

long long now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

// A line of text of limited length, made without the C library's formatting.
class Line {
 public:
  Line& text(std::string_view value) {
    const std::size_t count = std::min(value.size(), bytes_.size() - 1 - size_);
    std::memcpy(bytes_.data() + size_, value.data(), count);
    size_ += count;
    return *this;
  }
  Line& field(std::string_view value) { return text(value).text("\t"); }
  Line& number(long long value) {
    std::array<char, 24> digits{};
    std::size_t at = digits.size();
    const bool negative = value < 0;
    auto rest = negative ? 0ULL - static_cast<unsigned long long>(value)
                         : static_cast<unsigned long long>(value);
    do {
      digits[--at] = static_cast<char>('0' + rest % 10);
      rest /= 10;
    } while (rest != 0);
    if (negative) digits[--at] = '-';
    return field({digits.data() + at, digits.size() - at});
  }
  // One write, so that lines of several ranks do not mix.
  void end(int file) {
    bytes_[size_++] = '\n';
    syscall(SYS_write, file, bytes_.data(), size_);
  }

 private:
  std::array<char, 2048> bytes_{};
  std::size_t size_ = 0;
};

// One call that is about to be made.
struct Call {
  std::string_view name;
  std::string_view path;
  std::string_view new_path = "-";  // of a rename or link
  std::string_view mode = "-";      // "r" or "w": how the file is open
  long long offset = -1;            // of a write; -1: the file's own position
  long long bytes = -1;             // of a write, ftruncate or fallocate
  std::string_view head = "-";      // the first bytes that are written
};

// Where a descriptor leads; empty where it is no file.
class FilePath {
 public:
  explicit FilePath(int descriptor) {
    if (plan.path.empty()) return;
    std::array<char, 32> link{};
    std::memcpy(link.data(), "/proc/self/fd/", 14);
    std::size_t at = 14;
    std::array<char, 12> digits{};
    std::size_t count = 0;
    for (int rest = std::max(descriptor, 0); rest != 0 || count == 0; rest /= 10)
      digits[count++] = static_cast<char>('0' + rest % 10);
    while (count > 0) link[at++] = digits[--count];
    const long size = syscall(SYS_readlink, link.data(), bytes_.data(), bytes_.size());
    size_ = size > 0 ? static_cast<std::size_t>(size) : 0;
    const long flags = syscall(SYS_fcntl, descriptor, F_GETFL);
    writable_ = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
  }
  [[nodiscard]] std::string_view text() const { return {bytes_.data(), size_}; }
  [[nodiscard]] std::string_view mode() const { return writable_ ? "w" : "r"; }

 private:
  std::array<char, 1024> bytes_{};
  std::size_t size_ = 0;
  bool writable_ = false;
};

bool concerns(const Call& call) {
  return !plan.path.empty() && (call.path.find(plan.path) != std::string_view::npos ||
                                call.new_path.find(plan.path) != std::string_view::npos);
}

long count_call(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return ++num_calls[i];
  return 0;
}

bool is_named(std::string_view name) {
  if (plan.calls == "any") return true;
  for (std::string_view rest = plan.calls; !rest.empty();) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    if (rest.substr(0, comma) == name) return true;
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return false;
}

// True where this call is the one that the plan means.
bool is_hit(std::string_view name) {
  if (plan.kind == Kind::kNone || !is_named(name)) return false;
  const long number = ++num_matching;
  return number >= plan.nth && (plan.count == 0 || number < plan.nth + plan.count);
}

// The other ranks of this node have the same parent: mpirun, or its daemon.
void signal_siblings(int number) {
  std::array<char, 64> name{};
  const pid_t parent = getppid();
  std::snprintf(name.data(), name.size(), "/proc/%d/task/%d/children", parent, parent);
  const long file = syscall(SYS_openat, AT_FDCWD, name.data(), O_RDONLY | O_CLOEXEC);
  std::array<char, 1024> pids{};
  const long size = syscall(SYS_read, file, pids.data(), pids.size() - 1);
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

void do_before(const Call& call, long number) {
  if (plan.kind == Kind::kSignal) {
    const auto signal = static_cast<int>(plan.value);
    log(call, number, now_ns(), 0, 0, "signal");
    if (plan.target == Target::kSiblings) signal_siblings(signal);
    if (plan.target == Target::kParent) kill(getppid(), signal);
    if (plan.target == Target::kSelf || signal == SIGKILL) kill(getpid(), signal);
  } else if (plan.kind == Kind::kSleep) {
    timespec time{.tv_sec = plan.value / 1000, .tv_nsec = plan.value % 1000 * 1'000'000};
    while (nanosleep(&time, &time) != 0 && errno == EINTR) {
    }
  } else if (plan.kind == Kind::kFileSize) {
    const rlimit limit{.rlim_cur = static_cast<rlim_t>(plan.value),
                       .rlim_max = static_cast<rlim_t>(plan.value)};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
}

// Makes the call by `real`, which is given false where it should do only a part, unless the plan
// has it fail. A close that fails closes all the same, as Linux does.
template <typename Result, typename Real>
Result run(const Call& call, const Real& real) {
  if (!concerns(call)) return real(true);
  const long number = count_call(call.name);
  const bool hit = is_hit(call.name);
  const long long begin = now_ns();
  if (hit) do_before(call, number);
  Result result{};
  const bool fails = hit && plan.kind == Kind::kError;
  if (!fails || call.name == "close") result = real(!(hit && plan.kind == Kind::kShort));
  int error = errno;
  if (fails) error = static_cast<int>(plan.value);
  if constexpr (std::is_pointer_v<Result>) {
    if (fails) result = nullptr;
    log(call, number, begin, result == nullptr ? -1 : 0, error, hit ? "hit" : "-");
  } else {
    if (fails) result = -1;
    log(call, number, begin, result, error, hit ? "hit" : "-");
  }
  errno = error;
  return result;
}

// The first bytes as hexadecimal digits.
class Head {
 public:
  Head(const void* data, std::size_t size) : size_(2 * std::min<std::size_t>(size, 12)) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const auto* bytes = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < size_; ++i)
      digits_[i] = kDigits[i % 2 == 0 ? bytes[i / 2] >> 4 : bytes[i / 2] & 15];
  }
  [[nodiscard]] std::string_view text() const {
    return size_ == 0 ? std::string_view("-") : std::string_view(digits_.data(), size_);
  }

 private:
  std::array<char, 24> digits_{};
  std::size_t size_;
};

ssize_t put(std::string_view name, int file, const void* data, std::size_t size, off_t offset) {
  const FilePath path(file);
  const Head head(data, plan.path.empty() ? 0 : size);
  const Call call{.name = name,
                  .path = path.text(),
                  .mode = path.mode(),
                  .offset = offset,
                  .bytes = static_cast<long long>(size),
                  .head = head.text()};
  return run<ssize_t>(call, [&](bool whole) {
    const std::size_t part = whole ? size : (size + 1) / 2;
    return name == "write" ? syscall(SYS_write, file, data, part)
                           : syscall(SYS_pwrite64, file, data, part, offset);
  });
}

ssize_t put(std::string_view name, int file, const iovec* parts, int count, off_t offset) {
  const FilePath path(file);
  long long bytes = 0;
  for (int i = 0; i < count; ++i) bytes += static_cast<long long>(parts[i].iov_len);
  const Head head(count > 0 ? parts[0].iov_base : nullptr,
                  count > 0 && !plan.path.empty() ? parts[0].iov_len : 0);
  const Call call{.name = name,
                  .path = path.text(),
                  .mode = path.mode(),
                  .offset = offset,
                  .bytes = bytes,
                  .head = head.text()};
  return run<ssize_t>(call, [&](bool whole) {
    iovec first{};
    if (count > 0) first = {parts[0].iov_base, (parts[0].iov_len + 1) / 2};
    const iovec* given = whole ? parts : &first;
    const int number = whole ? count : std::min(count, 1);
    return name == "write" ? syscall(SYS_writev, file, given, number)
                           : syscall(SYS_pwritev, file, given, number, offset, 0L);
  });
}

int open_at(int folder, const char* path, int flags, mode_t mode) {
  const bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0;
  return run<int>({.name = "open", .path = path, .mode = writes ? "w" : "r"}, [&](bool) {
    return static_cast<int>(syscall(SYS_openat, folder, path, flags, mode));
  });
}

mode_t mode_of(int flags, va_list arguments) {
  const bool has = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  return has ? va_arg(arguments, mode_t) : 0;
}

// Calls by path, or by a descriptor that `path` says.
template <typename Real>
int call_path(std::string_view name, const char* path, const char* new_path, const Real& real) {
  return run<int>({.name = name, .path = path, .new_path = new_path}, [&](bool) { return real(); });
}
template <typename Real>
int call_file(std::string_view name, int file, long long bytes, const Real& real) {
  const FilePath path(file);
  return run<int>({.name = name, .path = path.text(), .mode = path.mode(), .bytes = bytes},
                  [&](bool) { return real(); });
}

FILE* open_stream(const char* name, const char* path, const char* mode) {
  using Open = FILE* (*)(const char*, const char*);
  const auto real = reinterpret_cast<Open>(dlsym(RTLD_NEXT, name));
  return run<FILE*>({.name = "open", .path = path, .mode = *mode == 'r' ? "r" : "w"},
                    [&](bool) { return real(path, mode); });
}

void note_exit(int code) {
  if (plan.exits < 0) return;
  Line().field(program_invocation_short_name).number(plan.rank).number(code).end(plan.exits);
}

void parse_kind(std::string_view kind) {
  const std::size_t colon = std::min(kind.find(':'), kind.size());
  const std::string_view word = kind.substr(0, colon);
  if (colon < kind.size()) plan.value = std::strtol(kind.data() + colon + 1, nullptr, 10);
  if (word == "short") plan.kind = Kind::kShort;
  if (word == "sleep") plan.kind = Kind::kSleep;
  if (word == "filesize") plan.kind = Kind::kFileSize;
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
  std::_Exit(99);
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
  const auto value = [](const char* name, const char* otherwise) {
    const char* text = std::getenv(name);
    return text != nullptr ? text : otherwise;
  };
  plan.rank = std::atoi(value("OMPI_COMM_WORLD_RANK", "0"));
  plan.log = open_log("FAULT_LOG");
  plan.exits = open_log("FAULT_EXITS");
  on_exit([](int code, void*) { note_exit(code); }, nullptr);
  plan.calls = value("FAULT_CALL", "");
  plan.nth = std::atol(value("FAULT_NTH", "1"));
  plan.count = std::atol(value("FAULT_COUNT", "1"));
  const int rank = std::atoi(value("FAULT_RANK", "-1"));
  const std::string_view kind = value("FAULT_KIND", "");
  if (!kind.empty() && (rank < 0 || rank == plan.rank)) parse_kind(kind);
  plan.path = value("FAULT_PATH", "");
}

}  // namespace

// ---- What is interposed ----------------------------------------------------------------------
extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_at(AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_at(AT_FDCWD, path, flags, mode);
}
int openat(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_at(folder, path, flags, mode);
}
FILE* fopen(const char* path, const char* mode) {
  return open_stream("fopen", path, mode);
}
FILE* fopen64(const char* path, const char* mode) {
  return open_stream("fopen64", path, mode);
}

ssize_t write(int file, const void* data, size_t size) {
  return put("write", file, data, size, -1);
}
ssize_t writev(int file, const iovec* parts, int count) {
  return put("write", file, parts, count, -1);
}
ssize_t pwrite(int file, const void* data, size_t size, off_t offset) {
  return put("pwrite", file, data, size, offset);
}
ssize_t pwrite64(int file, const void* data, size_t size, off64_t offset) {
  return put("pwrite", file, data, size, offset);
}
ssize_t pwritev(int file, const iovec* parts, int count, off_t offset) {
  return put("pwrite", file, parts, count, offset);
}
ssize_t pwritev64(int file, const iovec* parts, int count, off64_t offset) {
  return put("pwrite", file, parts, count, offset);
}

int fsync(int file) {
  return call_file("fsync", file, -1, [&] { return syscall(SYS_fsync, file); });
}
int fdatasync(int file) {
  return call_file("fdatasync", file, -1, [&] { return syscall(SYS_fdatasync, file); });
}
int ftruncate(int file, off_t size) noexcept {
  return call_file("ftruncate", file, size, [&] { return syscall(SYS_ftruncate, file, size); });
}
int ftruncate64(int file, off64_t size) noexcept {
  return call_file("ftruncate", file, size, [&] { return syscall(SYS_ftruncate, file, size); });
}
int fallocate(int file, int mode, off_t offset, off_t size) {
  return call_file("fallocate", file, size,
                   [&] { return syscall(SYS_fallocate, file, mode, offset, size); });
}
int close(int file) {
  return call_file("close", file, -1, [&] { return syscall(SYS_close, file); });
}

int rename(const char* from, const char* to) noexcept {
  return call_path("rename", from, to, [&] { return syscall(SYS_rename, from, to); });
}
int link(const char* from, const char* to) noexcept {
  return call_path("link", from, to, [&] { return syscall(SYS_link, from, to); });
}
int mkdir(const char* path, mode_t mode) noexcept {
  return call_path("mkdir", path, "-", [&] { return syscall(SYS_mkdir, path, mode); });
}
int unlink(const char* path) noexcept {
  return call_path("unlink", path, "-", [&] { return syscall(SYS_unlink, path); });
}
int remove(const char* path) noexcept {
  return call_path("unlink", path, "-", [&] {
    const long result = syscall(SYS_unlink, path);
    return result != 0 && (errno == EISDIR || errno == EPERM) ? syscall(SYS_rmdir, path) : result;
  });
}

void _exit(int code) {
  note_exit(code);
  syscall(SYS_exit_group, code);
  __builtin_unreachable();
}
void _Exit(int code) noexcept {
  _exit(code);
}

}  // extern "C"
