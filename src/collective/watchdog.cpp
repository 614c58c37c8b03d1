#include "cuboid/collective/watchdog.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <numeric>
#include <set>
#include <utility>

#include "cuboid/base/signals_blocked.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/collective/blame.hpp"
#include "cuboid/grid/grid.hpp"
#include "side_channel.hpp"

namespace cuboid {
namespace {

// Together under five seconds: what a job that hangs may cost beyond its time.
constexpr double kSecondsToFind = 0.5;
constexpr double kSecondsToAsk = 1.2;
constexpr double kSecondsToTell = 0.6;
constexpr double kSecondsToAbort = 1.5;
constexpr double kSecondsOfAnError = 5.0;
// Whoever was told of an alarm has reported by then, or never will.
constexpr double kSecondsBetweenAlarms = 3.0;

// 'R', 'S', 'D', 'T', ... of a process or thread; '?' where that is not to be known.
char activity_of(const std::string& path) {
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const std::size_t name_end = text.rfind(')');
  return name_end == std::string::npos || name_end + 2 >= text.size() ? '?' : text[name_end + 2];
}

char activity_of_main_thread() {
  const std::string process = std::to_string(::getpid());
  return activity_of("/proc/self/task/" + process + "/stat");
}

std::vector<int> all_but(int rank, int size) {
  std::vector<int> ranks(static_cast<std::size_t>(size));
  std::iota(ranks.begin(), ranks.end(), 0);
  ranks.erase(ranks.begin() + rank);
  return ranks;
}

// Who may be asked to report: some ranks of the first node, and the first of some others.
std::vector<int> reporters_below(int rank, const std::vector<int>& node_of) {
  constexpr std::size_t kOfFirstNode = 4;
  constexpr std::size_t kMost = 8;
  std::vector<int> ranks;
  std::set<int> nodes;
  for (int r = 0; r < rank && ranks.size() < kMost; ++r) {
    const bool is_first_of_node = nodes.insert(node_of[static_cast<std::size_t>(r)]).second;
    if (is_first_of_node || static_cast<std::size_t>(r) < kOfFirstNode) ranks.push_back(r);
  }
  return ranks;
}

void sleep_for(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

double interval_for(std::optional<double> timeout) {
  return std::clamp(timeout.value_or(60.0) / 20.0, 0.05, 0.5);
}

}  // namespace

Watchdog::Watchdog(MPI_Comm world, WatchdogOptions options)
    : options_(std::move(options)),
      rank_(rank_in(world)),
      size_(size_of_comm(world)),
      interval_(interval_for(options_.timeout)),
      clock_(interval_),
      errors_(interval_) {
  const bool is_one_host =
      std::ranges::all_of(options_.node_of, [](const int node) { return node == 0; });
  side_ = std::make_unique<SideChannel>(world, is_one_host, [this](const Question question) {
    if (question == Question::kState) look();
    if (question == Question::kState) return encode(state_);
    if (question == Question::kAlarm) is_asked_to_report_ = true;
    if (question == Question::kEnd) is_asked_to_end_ = true;
    return std::string("yes");
  });
  const SignalsBlocked blocked;
  thread_ = std::thread([this] { run(); });
}

Watchdog::~Watchdog() {
  stops_ = true;
  side_->wake();
  thread_.join();
}

void Watchdog::took(double seconds) noexcept {
  if (seconds > longest_step_) longest_step_ = seconds;
}

double Watchdog::limit() const {
  return patience(options_.timeout, longest_step_);
}

void Watchdog::run() {
  while (!stops_) {
    side_->serve(interval_);
    look();
    if (is_asked_to_end_) end(/*all_answer=*/true);
    if (is_asked_to_report_) report_and_end();
    if (state_.is_alarmed && (!has_alarmed_ || since_alarm_.seconds() > kSecondsBetweenAlarms))
      raise_alarm();
  }
}

// What the rank waits in, and for how long.
void Watchdog::look() {
  const double elapsed = since_look_.seconds();
  clock_.begin_look(elapsed);
  errors_.begin_look(elapsed);
  since_look_.restart();
  state_ = {.rank = rank_, .activity = activity_of_main_thread(), .channels = {}};
  const auto channels = board_.channels();
  // Where only hosts communicate there is nobody to ask.
  if (!probe_ && std::ranges::any_of(channels, [](auto* channel) { return channel->has_device(); }))
    probe_ = std::make_unique<DeviceProbe>(board_, interval_);
  std::size_t index = 0;
  for (Channel* channel : channels) look_at(index++, *channel);
}

void Watchdog::look_at(std::size_t index, Channel& channel) {
  const Channel::Seen seen = channel.see(probe_ && probe_->is_silent());
  ChannelState state{.name = channel.name(),
                     .members = channel.members(),
                     .num_collectives = seen.num_collectives,
                     .num_messages = seen.num_messages,
                     .wait = {},
                     .error = seen.error};
  const double seconds =
      clock_.see(index, seen.wait ? std::optional(seen.wait->wait) : std::nullopt);
  if (seen.wait) {
    const Operation& in = seen.wait->operation;
    state.wait = {.verb = in.verb,
                  .bytes = in.bytes,
                  .peer = in.peer,
                  .is_message = in.is_message,
                  .number = in.number,
                  .seconds = seconds};
  }
  // The main thread is the first to say what failed, unless it is stuck.
  const double failed = errors_.see(index, seen.error.empty() ? std::nullopt : std::optional(1U));
  if (seconds >= limit() || failed >= kSecondsOfAnError) state_.is_alarmed = true;
  state_.channels.push_back(std::move(state));
}

// Tells the lowest rank that answers; where there is none below this one, it is this one.
void Watchdog::raise_alarm() {
  since_alarm_.restart();
  has_alarmed_ = true;
  const auto below = reporters_below(rank_, options_.node_of);
  for (const auto& [rank, answer] : side_->ask(below, Question::kThere, kSecondsToFind))
    if (is_asked_to_end_ || !side_->ask({rank}, Question::kAlarm, kSecondsToFind).empty()) return;
  report_and_end();
}

std::vector<RankState> Watchdog::states_of_all() {
  const std::vector<int> others = all_but(rank_, size_);
  auto answers = side_->ask(others, Question::kState, kSecondsToAsk);
  look();
  std::vector<RankState> states = {state_};
  for (const int rank : others) {
    auto state = decode_rank_state(answers[rank]);
    if (!state || state->rank != rank)
      state = RankState{.rank = rank, .answers = false, .channels = {}};
    const auto node = [&](int of) { return options_.node_of[static_cast<std::size_t>(of)]; };
    if (!state->answers && node(rank) == node(rank_)) {
      const int process = side_->process_of(rank);
      state->activity = activity_of("/proc/" + std::to_string(process) + "/stat");
      if (state->activity == '?') state->activity = 'X';
    }
    states.push_back(std::move(*state));
  }
  return states;
}

std::string Watchdog::report(const std::vector<RankState>& states) const {
  const std::string given = options_.timeout ? format("%g", *options_.timeout) : "auto";
  return options_.prefix +
         format(
             "no progress in communication for %g s (--comm-timeout %s); ending all ranks with "
             "exit code %d\n",
             limit(), given.c_str(), options_.exit_code) +
         blame_report(states, options_.name_of);
}

void Watchdog::report_and_end() {
  is_asked_to_report_ = false;
  const std::vector<RankState> states = states_of_all();
  // Another rank may have been faster: those that it has ended answer nothing any more.
  if (is_asked_to_end_) end(/*all_answer=*/true);
  // What was waited for may have come meanwhile.
  const bool is_over = std::ranges::none_of(states, [](const auto& s) { return s.is_alarmed; });
  if (is_over || stops_) return;
  const std::string text = report(states);
  // One write, and not by the C library: the main thread may hold its locks.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
  const auto told = side_->ask(all_but(rank_, size_), Question::kEnd, kSecondsToTell);
  end(static_cast<int>(told.size()) == size_ - 1);
}

// The ranks that answer end themselves; for others there is the launcher.
void Watchdog::end(bool all_answer) {
  std::atomic<bool> is_done = false;
  std::thread([&] {
    for (Channel* channel : board_.channels()) channel->abort();
    std::fflush(stdout);
    is_done = true;
  }).detach();
  for (const Timer timer; !is_done && timer.seconds() < kSecondsToAbort;) sleep_for(0.01);
  if (!all_answer) {
    std::thread([this] { options_.abort_job(options_.exit_code); }).detach();
    sleep_for(kSecondsToAbort);
  }
  std::_Exit(options_.exit_code);
}

}  // namespace cuboid
