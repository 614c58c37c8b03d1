// What a rank says of itself when somebody waits too long: which operations it has come to, and
// which it waits in. As data, and as the bytes that ranks send each other.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cuboid {

// An operation that a rank waits in. See Operation in progress_board.hpp.
struct WaitState {
  std::string verb;
  std::int64_t bytes = 0;
  int peer = -1;
  bool is_message = false;
  std::uint64_t number = 0;
  double seconds = 0.0;
};

struct ChannelState {
  std::string name;
  std::vector<int> members;  // ranks of the world
  std::uint64_t num_collectives = 0;
  std::uint64_t num_messages = 0;
  std::optional<WaitState> wait;
  std::string error;
};

struct RankState {
  int rank = 0;
  bool answers = true;
  bool is_alarmed = false;  // waits longer than it may
  // Of the main thread, as proc(5) has it: R runs, S sleeps, D waits for a disk, T is stopped; '?'
  // where that is not known. Of a rank that does not answer, its process.
  char activity = '?';
  std::vector<ChannelState> channels;
};

std::string encode(const RankState& state);
// None where the text is not one that encode() has made.
std::optional<RankState> decode_rank_state(const std::string& text);

}  // namespace cuboid
