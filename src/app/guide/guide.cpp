#include "cuboid/app/guide.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "cuboid/app/checkpoint_command.hpp"
#include "cuboid/app/command.hpp"
#include "cuboid/app/overview.hpp"
#include "cuboid/app/terminal.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

std::vector<std::string> chapter_names() {
  std::vector<std::string> names;
  for (const Chapter& chapter : chapters()) names.push_back(chapter.name);
  return names;
}

}  // namespace

std::span<const Chapter> chapters() {
  static const std::array<Chapter, 5> kChapters = {{
      {"parallelism", "which grid for which model and machine", kParallelismChapter},
      {"checkpoints", "saving, resuming, and what to do with the files", kCheckpointsChapter},
      {"data", "what --data-dir takes, order of samples, validation", kDataChapter},
      {"slurm", "batch jobs, preemption, several nodes", kSlurmChapter},
      {"performance", "what to look at, and what makes runs fast", kPerformanceChapter},
  }};
  return kChapters;
}

int help(int argc, char** argv) {
  if (argc == 2) return show_in_pages(overview_text()), kDone;
  return report_problems([&]() -> int {
    const std::string name = argv[2];
    if (argc > 3)
      throw UsageError("cuboid help takes one chapter; legal are " + join(chapter_names(), ", "));
    for (const Chapter& chapter : chapters())
      if (chapter.name == name) return show_in_pages(chapter.text), kDone;
    const std::string near = nearest_name(name, chapter_names());
    throw UsageError("no chapter '" + name + "'" +
                     (near.empty() ? "" : ": did you mean '" + near + "'?") + "; legal are " +
                     join(chapter_names(), ", "));
  });
}

}  // namespace cuboid
