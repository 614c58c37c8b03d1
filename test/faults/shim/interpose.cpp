// A library to be preloaded (LD_PRELOAD) into ranks: logs the calls that change the files of one
// folder, and makes one of them fail, stop short, sleep, or be the last thing that the rank does.
//
// Safe in signal handlers and threads: the calls are made as raw system calls, so is the logging;
// nothing is allocated after start-up. What a file descriptor stands for is asked of the kernel at
// each call, since files are also opened where no preloaded library sees it (inside the C library).
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>

#include "call.hpp"
#include "line.hpp"

namespace shim {
namespace {

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

// The program calls this before each operation of communication
// (src/collective/progress_board.cpp).
void cuboid_trace_communication(const char* communicator, const char* verb,
                                unsigned long long number) {
  Line path;
  path.text("communicator/").text(communicator);
  const Call call{.name = verb, .path = path.c_str(), .offset = static_cast<long long>(number)};
  if (!concerns(call) || !is_hit(verb)) return;
  log(call, 0, now_ns(), 0, 0, "late");
  do_before(call, 0);
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

}  // namespace shim
