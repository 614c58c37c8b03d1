#include "watch.hpp"

#include <sanitizer/common_interface_defs.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>

#include "cuboid/base/error.hpp"

// g++ 12 lacks <sanitizer/allocator_interface.h>, not what it declares.
extern "C" int __sanitizer_install_malloc_and_free_hooks(  // NOLINT
    void (*on_malloc)(const volatile void*, std::size_t), void (*on_free)(const volatile void*));
extern "C" std::size_t __sanitizer_get_allocated_size(const volatile void* pointer);  // NOLINT

// Asked for by name by the sanitizers, before main.
extern "C" const char* __asan_default_options() {  // NOLINT
  // Leaks are not looked for: MPI keeps what it allocates.
  return "detect_leaks=0:exitcode=99:handle_abort=1:allocator_may_return_null=0:"
         "max_allocation_size_mb=256";
}
extern "C" const char* __ubsan_default_options() {  // NOLINT
  return "halt_on_error=1:print_stacktrace=1:exitcode=99";
}

namespace cuboid::mutants {
namespace {

std::atomic<std::size_t> live_bytes = 0;
std::atomic<std::size_t> peak_bytes = 0;
std::size_t bytes_at_start = 0;
std::array<char, 1024> current{};  // what to print, and its length
std::size_t current_length = 0;

void on_malloc(const volatile void*, std::size_t size) {
  const std::size_t live = live_bytes += size;
  if (live > peak_bytes) peak_bytes = live;
}

void on_free(const volatile void* pointer) {
  if (pointer == nullptr) return;
  live_bytes -= __sanitizer_get_allocated_size(pointer);
}

// From a signal handler or a dying process: nothing but write(2).
void print_current() {
  const ssize_t written = ::write(STDERR_FILENO, current.data(), current_length);
  static_cast<void>(written);
}

void on_alarm(int) {
  constexpr char kText[] = "FAILED: it hangs\n";
  const ssize_t written = ::write(STDERR_FILENO, kText, sizeof kText - 1);
  static_cast<void>(written);
  print_current();
  ::_exit(kExitHang);
}

}  // namespace

void install_watch() {
  require(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) != 0, "one hook");
  __sanitizer_set_death_callback(print_current);
  std::signal(SIGALRM, on_alarm);
}

void start_watch(const std::string& what, unsigned seconds) {
  current_length = (what + "\n").copy(current.data(), current.size());
  bytes_at_start = live_bytes;
  peak_bytes = bytes_at_start;
  ::alarm(seconds);
}

std::size_t stop_watch() {
  ::alarm(0);
  return peak_bytes - bytes_at_start;
}

}  // namespace cuboid::mutants
