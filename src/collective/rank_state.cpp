#include "cuboid/collective/rank_state.hpp"

#include <iomanip>
#include <sstream>

namespace cuboid {
namespace {

constexpr int kMostRanks = 1 << 24;

// Most axes are arithmetic: of a large world no list is sent.
bool is_even(const std::vector<int>& members) {
  for (std::size_t i = 2; i < members.size(); ++i)
    if (members[i] - members[i - 1] != members[1] - members[0]) return false;
  return true;
}

void put(std::ostream& out, const std::vector<int>& members) {
  if (members.size() > 1 && is_even(members)) {
    out << " even " << members.size() << ' ' << members[0] << ' ' << members[1] - members[0];
    return;
  }
  out << " list " << members.size();
  for (const int member : members) out << ' ' << member;
}

bool get(std::istream& in, std::vector<int>& members) {
  std::string kind;
  int count = 0;
  if (!(in >> kind >> count) || count < 0 || count > kMostRanks) return false;
  members.resize(static_cast<std::size_t>(count));
  if (kind == "list") {
    for (int& member : members) in >> member;
    return static_cast<bool>(in);
  }
  int first = 0;
  int step = 0;
  in >> first >> step;
  for (int& member : members) {
    member = first;
    first += step;
  }
  return kind == "even" && static_cast<bool>(in);
}

void put(std::ostream& out, const ChannelState& channel) {
  out << ' ' << std::quoted(channel.name) << ' ' << channel.num_collectives << ' '
      << channel.num_messages << ' ' << std::quoted(channel.error);
  put(out, channel.members);
  out << ' ' << channel.wait.has_value();
  if (!channel.wait) return;
  const WaitState& wait = *channel.wait;
  out << ' ' << std::quoted(wait.verb) << ' ' << wait.bytes << ' ' << wait.peer << ' '
      << wait.is_message << ' ' << wait.number << ' ' << wait.seconds;
}

bool get(std::istream& in, ChannelState& channel) {
  in >> std::quoted(channel.name) >> channel.num_collectives >> channel.num_messages >>
      std::quoted(channel.error);
  bool waits = false;
  if (!get(in, channel.members) || !(in >> waits)) return false;
  if (!waits) return true;
  WaitState& wait = channel.wait.emplace();
  return static_cast<bool>(in >> std::quoted(wait.verb) >> wait.bytes >> wait.peer >>
                           wait.is_message >> wait.number >> wait.seconds);
}

}  // namespace

std::string encode(const RankState& state) {
  std::ostringstream out;
  out << state.rank << ' ' << state.is_alarmed << ' ' << state.activity << ' '
      << state.channels.size();
  for (const ChannelState& channel : state.channels) put(out, channel);
  return out.str();
}

std::optional<RankState> decode_rank_state(const std::string& text) {
  constexpr std::size_t kMostChannels = 1000;
  std::istringstream in(text);
  RankState state;
  std::size_t count = 0;
  if (!(in >> state.rank >> state.is_alarmed >> state.activity >> count) || count > kMostChannels)
    return std::nullopt;
  state.channels.resize(count);
  for (ChannelState& channel : state.channels)
    if (!get(in, channel)) return std::nullopt;
  return state;
}

}  // namespace cuboid
