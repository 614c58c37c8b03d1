// How a run ends when something goes wrong: said once where all ranks know of it, with rank and
// coordinate where only some do, and never with a hang.
#pragma once

#include <functional>
#include <string>

#include "cuboid/launch/session.hpp"

namespace cuboid {

class Ending {
 public:
  // `command`: whose --help the message for a wrong option points to.
  Ending(const MpiSession& session, std::string command);

  // "dp 0, tp 1, pp 0": known once the grid is.
  void set_coordinate(const std::string& coordinate);

  // Runs `work`; catches whatever it throws. An error that every rank has found is printed by rank
  // 0 and its exit code returned; one that only some have is printed by each of them, and all ranks
  // are aborted.
  int guard(const std::function<int()>& work);

 private:
  [[nodiscard]] int end(int exit_code, const std::string& message) const;

  const MpiSession& session_;
  std::string command_;
  std::string label_;
};

}  // namespace cuboid
