#include "cuboid/launch/stop_signal.hpp"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <ctime>
#include <string_view>

#include "cuboid/base/error.hpp"

namespace cuboid {
namespace {

constexpr long kSameRequestMs = 1000;

// A process has one set of signal handlers, and they share memory with it only through atomics.
std::atomic<int> g_signal{0};
std::atomic<long> g_first_ms{0};
std::atomic<unsigned> g_patience_s{600};

long now_ms() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Handlers may call only what is async-signal-safe: atomics, clock_gettime, alarm, write, _exit,
// signal, raise.
void on_request(int signal) {
  int none = 0;
  if (g_signal.compare_exchange_strong(none, signal)) {
    g_first_ms = now_ms();
    ::alarm(g_patience_s);
    return;
  }
  if (now_ms() - g_first_ms < kSameRequestMs) return;
  std::signal(signal, SIG_DFL);
  // Blocked until this handler returns, then it ends the process.
  ::raise(signal);
}

void on_time_up(int /*signal*/) {
  constexpr std::string_view kText =
      "cuboid: error: the ranks did not come to a stop in time after a signal: a rank is dead or "
      "stuck; ending this one\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kText.data(), kText.size());
  ::_exit(1);
}

void install(int signal, void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  ::sigfillset(&action.sa_mask);
  check_errno(::sigaction(signal, &action, nullptr) == 0, "sigaction");
}

}  // namespace

void catch_stop_signals() {
  install(SIGUSR1, on_request);
  install(SIGTERM, on_request);
  install(SIGALRM, on_time_up);
}

int stop_signal() noexcept {
  return g_signal;
}

std::string name_of_signal(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(signal);
}

void set_stop_patience(unsigned seconds) noexcept {
  g_patience_s = seconds;
  if (g_signal != 0) ::alarm(seconds);
}

}  // namespace cuboid
