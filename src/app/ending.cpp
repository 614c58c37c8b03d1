#include "cuboid/app/ending.hpp"

#include <cstdio>
#include <utility>

#include "cuboid/app/command.hpp"
#include "cuboid/app/terminal.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/launch/device.hpp"
#include "cuboid/trainer/trainer.hpp"

namespace cuboid {
namespace {

std::string usage_message(const UsageError& error, const std::string& command) {
  std::string text;
  for (const auto& problem : error.problems()) text += error_prefix() + problem + "\n";
  return text + "`cuboid " + command + " --help` lists all options\n";
}

}  // namespace

Ending::Ending(const MpiSession& session, std::string command)
    : session_(session),
      command_(std::move(command)),
      label_("rank " + std::to_string(session.rank())) {
  name_this_rank_when_it_crashes(label_);
}

void Ending::set_coordinate(const std::string& coordinate) {
  label_ += " (" + coordinate + ")";
  name_this_rank_when_it_crashes(label_);
}

int Ending::guard(const std::function<int()>& work) {
  try {
    return work();
  } catch (const UsageError& error) {
    return end(kUsage, usage_message(error, command_));
  } catch (const Diverged& error) {
    return end(kDivergedExit, error_prefix() + error.what() + "\n");
  } catch (const std::exception& error) {
    return end(kFailed, error_prefix() + error.what() + "\n");
  }
}

int Ending::end(int exit_code, const std::string& message) const {
  constexpr double kGraceSeconds = 1.0;
  if (session_.everyone_arrives(kGraceSeconds)) {
    if (session_.rank() == 0) std::fputs(message.c_str(), stderr);
    return exit_code;
  }
  std::fprintf(stderr, "cuboid: %s failed; ending all ranks\n%s", label_.c_str(), message.c_str());
  std::fflush(stderr);
  session_.abort(exit_code);
}

}  // namespace cuboid
