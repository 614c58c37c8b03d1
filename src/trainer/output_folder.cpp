#include "cuboid/trainer/output_folder.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "cuboid/base/error.hpp"
#include "cuboid/checkpoint/folder.hpp"

namespace cuboid {
namespace fs = std::filesystem;
namespace {

// Moves these files of the folder into its run-1, or the next free number; "" where there are none.
std::string move_to_new_folder(const std::string& output_dir,
                               const std::vector<std::string>& names) {
  if (names.empty()) return {};
  fs::path folder;
  for (int number = 1; folder.empty() || fs::exists(folder); ++number) {
    folder = fs::path(output_dir) / ("run-" + std::to_string(number));
  }
  std::error_code error;
  fs::create_directory(folder, error);
  for (const std::string& name : names) {
    if (!error) fs::rename(fs::path(output_dir) / name, folder / name, error);
  }
  if (error)
    throw SystemError("cannot move an earlier run to '" + folder.string() +
                      "': " + error.message());
  return folder;
}

}  // namespace

std::vector<std::string> check_output_dir(const std::string& output_dir) {
  const std::string advice = "; --output-dir must name a folder that can be written";
  std::error_code error;
  fs::create_directories(output_dir, error);
  if (error) {
    return {"--output-dir '" + output_dir + "' cannot be made: " + error.message() + advice};
  }
  if (!fs::is_directory(output_dir, error)) {
    return {"--output-dir '" + output_dir + "' is not a folder" + advice};
  }
  if (::access(output_dir.c_str(), W_OK | X_OK) == 0) return {};
  return {"--output-dir '" + output_dir + "' cannot be written: " + std::strerror(errno) + advice};
}

std::string set_earlier_run_aside(const std::string& output_dir) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(output_dir)) {
    const std::string name = entry.path().filename();
    const std::string ending = entry.path().extension();
    const bool metrics = name.starts_with("metrics") && ending == ".jsonl";
    const bool times =
        ending == ".json" && (name == "step_times.json" || name.starts_with("trace-steps-"));
    if (entry.is_regular_file() && (metrics || times || step_of_checkpoint(name)))
      names.push_back(name);
  }
  return move_to_new_folder(output_dir, names);
}

std::string set_later_checkpoints_aside(const std::string& output_dir, std::int64_t step) {
  std::vector<std::string> names;
  for (const std::int64_t later : steps_in(output_dir)) {
    if (later > step) names.push_back(fs::path(checkpoint_path(output_dir, later)).filename());
  }
  return move_to_new_folder(output_dir, names);
}

bool is_in_folder(const std::string& path, const std::string& folder) {
  std::error_code error;
  const fs::path parent = fs::path(path).parent_path();
  return fs::equivalent(parent.empty() ? fs::path(".") : parent, folder, error);
}

}  // namespace cuboid
