#include "cuboid/collective/blame.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

constexpr std::size_t kMostLines = 16;

// A wait with what it is in.
struct Wait {
  const RankState* rank;
  const ChannelState* channel;
};

struct Late {
  int rank;
  bool has_begun;
};

class Scene {
 public:
  explicit Scene(const std::vector<RankState>& states) {
    for (const RankState& state : states) {
      by_rank_[state.rank] = &state;
      for (const ChannelState& channel : state.channels)
        if (channel.wait) waits_.push_back({&state, &channel});
    }
    std::ranges::stable_sort(waits_, [](const Wait& a, const Wait& b) {
      return a.channel->wait->seconds > b.channel->wait->seconds;
    });
  }

  [[nodiscard]] const std::vector<Wait>& waits() const { return waits_; }
  [[nodiscard]] const RankState* state_of(int rank) const {
    const auto found = by_rank_.find(rank);
    return found == by_rank_.end() ? nullptr : found->second;
  }
  [[nodiscard]] bool answers(int rank) const {
    const RankState* state = state_of(rank);
    return state != nullptr && state->answers;
  }
  [[nodiscard]] bool waits(int rank) const {
    return std::ranges::any_of(waits_, [&](const Wait& wait) { return wait.rank->rank == rank; });
  }

  // The ranks that keep a wait from ending: those that have not come to it, and where all have,
  // those that have begun it and do something else now.
  [[nodiscard]] std::vector<Late> late_for(const Wait& wait) const {
    std::vector<Late> late;
    for (const int rank : partners(wait))
      if (!answers(rank) || count_of(rank, wait) < wait.channel->wait->number)
        late.push_back({rank, false});
    if (!late.empty()) return late;
    for (const int rank : partners(wait))
      if (!waits(rank)) late.push_back({rank, true});
    return late;
  }

 private:
  [[nodiscard]] static std::vector<int> partners(const Wait& wait) {
    const std::vector<int>& members = wait.channel->members;
    const int peer = wait.channel->wait->peer;
    if (peer >= 0 && static_cast<std::size_t>(peer) < members.size())
      return {members[static_cast<std::size_t>(peer)]};
    std::vector<int> others;
    for (const int member : members)
      if (member != wait.rank->rank) others.push_back(member);
    return others;
  }

  // How many operations of the kind a rank has begun on the same communicator.
  [[nodiscard]] std::uint64_t count_of(int rank, const Wait& wait) const {
    const ChannelState& mine = *wait.channel;
    for (const ChannelState& channel : state_of(rank)->channels) {
      if (channel.name != mine.name || channel.members != mine.members) continue;
      // Between more than two ranks a number says nothing about one pair's messages.
      if (mine.wait->is_message && mine.members.size() > 2) return mine.wait->number;
      return mine.wait->is_message ? channel.num_messages : channel.num_collectives;
    }
    return 0;
  }

  std::map<int, const RankState*> by_rank_;
  std::vector<Wait> waits_;  // the longest first
};

std::string activity_text(const RankState* state) {
  const char activity = state == nullptr ? '?' : state->activity;
  if (state == nullptr || !state->answers) {
    if (activity == 'T' || activity == 't') return "its process is stopped (SIGSTOP, a debugger)";
    if (activity == 'D') return "its process does not answer, and waits for a disk or a driver";
    if (activity == 'Z' || activity == 'X') return "its process has ended";
    return "its process does not answer: stopped, ended, or its host is out of reach";
  }
  switch (activity) {
    case 'R': return "it is in no communication: its main thread computes";
    case 'S': return "it is in no communication: its main thread sleeps, or waits for something";
    case 'D': return "it is in no communication: its main thread waits for a disk or a driver";
    case 'T':
    case 't': return "it is in no communication: its main thread is stopped";
    default: return "it is in no communication";
  }
}

std::string has_not_come(const Culprit& culprit) {
  if (culprit.has_begun)
    return "has begun, but does not go on with " + operation_text(culprit.channel, culprit.wait);
  WaitState other_end = culprit.wait;
  // The message that one waits to receive is the other's to send.
  if (other_end.verb == "receive") {
    other_end.verb = "send";
  } else if (other_end.verb == "send") {
    other_end.verb = "receive";
  }
  return (culprit.answers ? "has not come to " : "does not take part in ") +
         operation_text(culprit.channel, other_end);
}

std::string culprit_text(const Culprit& culprit, const std::function<std::string(int)>& name_of) {
  std::string text = name_of(culprit.rank) + " " + has_not_come(culprit) + "; rank " +
                     std::to_string(culprit.waiting.front()) +
                     format(" waits since %.1f s", culprit.wait.seconds);
  const std::size_t others = culprit.waiting.size() - 1;
  if (others > 0) text += format(", %zu more rank%s with it", others, others == 1 ? "" : "s");
  return text + "\n";
}

std::string rank_list(const std::vector<Late>& late) {
  std::vector<std::string> names;
  for (const Late& one : late) {
    if (names.size() == 4) {
      names.push_back(format("%zu more", late.size() - 4));
      break;
    }
    names.push_back(std::to_string(one.rank));
  }
  return join(names, ", ");
}

// Every wait, with whom it is for.
std::string waits_text(const Scene& scene, const std::function<std::string(int)>& name_of) {
  std::string text;
  std::size_t lines = 0;
  for (const Wait& wait : scene.waits()) {
    if (lines++ == kMostLines) {
      return text + format("  ... and %zu more waits\n", scene.waits().size() - kMostLines);
    }
    const std::vector<Late> late = scene.late_for(wait);
    text +=
        "  " + name_of(wait.rank->rank) + " waits in " +
        operation_text(wait.channel->name, *wait.channel->wait) +
        format(" since %.1f s, ", wait.channel->wait->seconds) +
        (late.empty() ? "to which all its ranks have come"
                      : "for rank" + std::string(late.size() == 1 ? " " : "s ") + rank_list(late)) +
        "\n";
  }
  return text;
}

std::string errors_text(const std::vector<RankState>& states,
                        const std::function<std::string(int)>& name_of) {
  std::string text;
  for (const RankState& state : states)
    for (const ChannelState& channel : state.channels)
      if (!channel.error.empty())
        text += "  " + name_of(state.rank) + ": " + channel.name + ": " + channel.error + "\n";
  return text;
}

}  // namespace

std::string operation_text(const std::string& channel, const WaitState& wait) {
  std::string text =
      wait.verb + format(" #%llu of ", static_cast<unsigned long long>(wait.number)) + channel;
  if (wait.bytes > 0) text += ", " + short_bytes(static_cast<double>(wait.bytes));
  return text;
}

std::vector<Culprit> find_culprits(const std::vector<RankState>& states) {
  using Key = std::tuple<int, std::string, std::string, std::uint64_t>;
  const Scene scene(states);
  std::map<Key, Culprit> culprits;
  for (const Wait& wait : scene.waits()) {
    const WaitState& in = *wait.channel->wait;
    for (const Late& late : scene.late_for(wait)) {
      // Who waits itself is somebody's victim.
      if (scene.answers(late.rank) && scene.waits(late.rank)) continue;
      Culprit& culprit = culprits[{late.rank, wait.channel->name, in.verb, in.number}];
      if (culprit.waiting.empty()) {
        culprit = {.rank = late.rank,
                   .answers = scene.answers(late.rank),
                   .has_begun = late.has_begun,
                   .channel = wait.channel->name,
                   .wait = in,
                   .waiting = {}};
      }
      culprit.waiting.push_back(wait.rank->rank);
    }
  }
  std::vector<Culprit> result;
  for (auto& [key, culprit] : culprits) result.push_back(std::move(culprit));
  return result;
}

std::string blame_report(const std::vector<RankState>& states,
                         const std::function<std::string(int)>& name_of) {
  const Scene scene(states);
  const std::vector<Culprit> culprits = find_culprits(states);
  std::string text;
  for (std::size_t i = 0; i < culprits.size() && i < kMostLines; ++i) {
    text += culprit_text(culprits[i], name_of);
    const bool is_last_of_rank =
        i + 1 == culprits.size() || culprits[i + 1].rank != culprits[i].rank;
    if (is_last_of_rank) text += "    " + activity_text(scene.state_of(culprits[i].rank)) + "\n";
  }
  if (culprits.size() > kMostLines)
    text += format("... and %zu more\n", culprits.size() - kMostLines);
  if (culprits.empty()) {
    const bool is_circle = std::ranges::any_of(
        scene.waits(), [&](const Wait& wait) { return !scene.late_for(wait).empty(); });
    text += is_circle ? "no rank is late: ranks wait for each other in a circle\n"
                      : "all ranks have come to what they wait in: the communication itself does "
                        "not end (the network, a driver or a GPU)\n";
  }
  return text + errors_text(states, name_of) + "who waits in what:\n" + waits_text(scene, name_of);
}

}  // namespace cuboid
