// Who keeps whom waiting, from what the ranks say: pure.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cuboid/collective/rank_state.hpp"

namespace cuboid {

// A rank that others wait for and that waits for nobody itself, and one operation that it has not
// come to.
struct Culprit {
  int rank = 0;
  bool answers = true;
  bool has_begun = false;  // it has begun the operation, and is elsewhere now
  std::string channel;
  WaitState wait;            // as the waiting rank sees it
  std::vector<int> waiting;  // ranks that wait for this one, the longest wait first
};

// One entry for each culprit and operation, in order of rank. Empty where ranks wait in a circle,
// or where all have come to an operation that does not end.
std::vector<Culprit> find_culprits(const std::vector<RankState>& states);

// The whole report: what is wrong first, the culprits first among it; of many ranks only the first.
// `name_of`: "rank 5 (dp 1, tp 0, pp 1) on n2".
std::string blame_report(const std::vector<RankState>& states,
                         const std::function<std::string(int)>& name_of);

// "all_reduce #812 of dp, 4.0 MiB"
std::string operation_text(const std::string& channel, const WaitState& wait);

}  // namespace cuboid
