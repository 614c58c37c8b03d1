// ranks: 1
// Each case runs in a child, since a process has one set of signal handlers.
#include "cuboid/launch/stop_signal.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

namespace cuboid {
namespace {

// The wait status of a child that runs `work` and then returns its value.
int status_of(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    catch_stop_signals();
    ::_exit(work());
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

void expect_exit(int status, int code) {
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == code) << "status " << status;
}

TEST(StopSignal, TheFirstSetsAFlag) {
  for (const int signal : {SIGUSR1, SIGTERM}) {
    expect_exit(status_of([&] {
                  if (stop_signal() != 0) return 1;
                  ::raise(signal);
                  return stop_signal() == signal ? 0 : 2;
                }),
                0);
  }
}

TEST(StopSignal, OneRequestMayBeDeliveredTwice) {
  expect_exit(status_of([] {
                ::raise(SIGUSR1);
                ::raise(SIGUSR1);
                ::raise(SIGTERM);
                return stop_signal() == SIGUSR1 ? 0 : 1;
              }),
              0);
}

TEST(StopSignal, TheSecondEndsTheProcess) {
  const int status = status_of([] {
    ::raise(SIGUSR1);
    ::usleep(1'200'000);
    ::raise(SIGTERM);
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) << "status " << status;
}

TEST(StopSignal, AProcessThatNeverStopsIsEnded) {
  expect_exit(status_of([] {
                set_stop_patience(1);
                ::raise(SIGTERM);
                for (;;) ::pause();
                return 0;
              }),
              1);
}

TEST(StopSignal, PatienceMayGrowWhileStopping) {
  expect_exit(status_of([] {
                set_stop_patience(1);
                ::raise(SIGTERM);
                set_stop_patience(0);
                ::usleep(1'300'000);
                return 0;
              }),
              0);
}

TEST(StopSignal, SignalsHaveNames) {
  EXPECT_EQ(name_of_signal(SIGUSR1), "SIGUSR1");
  EXPECT_EQ(name_of_signal(SIGTERM), "SIGTERM");
}

}  // namespace
}  // namespace cuboid
