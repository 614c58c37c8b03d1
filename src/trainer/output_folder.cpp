#include "cuboid/trainer/output_folder.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "cuboid/base/error.hpp"

namespace cuboid {
namespace fs = std::filesystem;

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
  const std::string probe = output_dir + "/.write-test-" + std::to_string(getpid());
  errno = 0;
  std::ofstream file(probe);
  file << "test" << std::flush;
  const bool written = file.good();
  const int code = errno;
  file.close();
  fs::remove(probe, error);
  if (written) return {};
  return {"--output-dir '" + output_dir + "' cannot be written: " + std::strerror(code) + advice};
}

std::string set_earlier_run_aside(const std::string& output_dir) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(output_dir)) {
    const std::string name = entry.path().filename();
    const bool checkpoint = name.starts_with("checkpoint-") && entry.path().extension() == ".h5";
    const bool metrics = name.starts_with("metrics") && entry.path().extension() == ".jsonl";
    if (entry.is_regular_file() && (checkpoint || metrics)) files.push_back(entry.path());
  }
  if (files.empty()) return {};
  fs::path folder;
  for (int number = 1; folder.empty() || fs::exists(folder); ++number) {
    folder = fs::path(output_dir) / ("run-" + std::to_string(number));
  }
  std::error_code error;
  fs::create_directory(folder, error);
  for (const fs::path& file : files) {
    if (!error) fs::rename(file, folder / file.filename(), error);
  }
  if (error)
    throw SystemError("cannot move an earlier run to '" + folder.string() +
                      "': " + error.message());
  return folder;
}

}  // namespace cuboid
