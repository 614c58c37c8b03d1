// The guide: chapters that `cuboid help CHAPTER` prints.
#pragma once

#include <span>
#include <string>

namespace cuboid {

struct Chapter {
  std::string name;     // "parallelism"
  std::string summary;  // one line
  std::string text;     // headings at the left margin, everything else indented
};

std::span<const Chapter> chapters();

// One in each file of src/app/guide/.
extern const char* const kParallelismChapter;
extern const char* const kCheckpointsChapter;
extern const char* const kDataChapter;
extern const char* const kSlurmChapter;
extern const char* const kPerformanceChapter;

}  // namespace cuboid
