#include <cstdio>

#include "cuboid/app/checkpoint_command.hpp"
#include "cuboid/app/command.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/base/timer.hpp"

namespace cuboid {
namespace {

bool verify_file(const std::string& path, const CheckpointArguments& arguments) {
  const int result = report_problems([&] {
    const Timer timer;
    const Verified file = verify_with_bar(path, num_threads(arguments), arguments.has("cached"));
    const auto bytes = static_cast<double>(file.bytes);
    std::printf("%s: OK, %s tensors, %s, %.2f GB/s\n", path.c_str(),
                grouped(file.num_tensors).c_str(), short_bytes(bytes).c_str(),
                bytes * 1e-9 / timer.seconds());
    return kDone;
  });
  if (result != kDone) std::printf("%s: NOT OK\n", path.c_str());
  std::fflush(stdout);
  return result == kDone;
}

int verify(const CheckpointArguments& arguments) {
  std::int64_t num_files = 0;
  std::int64_t num_good = 0;
  bool all_found = true;
  for (const auto& path : arguments.paths) {
    const int result = report_problems([&] {
      for (const auto& file : is_folder(path) ? checkpoints_in(path) : std::vector{path}) {
        ++num_files;
        num_good += verify_file(file, arguments) ? 1 : 0;
      }
      return kDone;
    });
    all_found = all_found && result == kDone;
  }
  if (num_files > 1)
    std::printf("%s of %s are OK\n", grouped(num_good).c_str(), grouped(num_files).c_str());
  // Whatever the reason is that a file cannot be trusted: the same answer to a script.
  return all_found && num_good == num_files ? kDone : kUsage;
}

}  // namespace

CheckpointCommand verify_command() {
  return {
      .name = "verify",
      .paths = "FILE|FOLDER...",
      .summary = "check every byte of checkpoints against their digests",
      .text =
          "Reads each checkpoint from the disk and checks its seal, its structure and the digest\n"
          "of every tensor. Of a folder, all its checkpoints are checked. Prints one line a file,\n"
          "and every problem (damaged tensors by name) on standard error.\n"
          "Exit code: 0 where all are OK, 2 where any is damaged, missing or cannot be read.\n",
      .options = {threads_option(),
                  {.name = "cached",
                   .value_name = "",
                   .help = "take from memory what the system keeps there: faster, proves less"}},
      .most_paths = 100000,
      .run = verify};
}

}  // namespace cuboid
