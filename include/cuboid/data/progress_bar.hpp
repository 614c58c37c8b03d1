// A progress line on a terminal, for work that takes longer than a second.
#pragma once

#include <cstdint>
#include <string>

#include "cuboid/base/timer.hpp"

namespace cuboid {

// "Packing text [#######      ] 52 %  512.0 MiB of 1.0 GiB  1.2 s left". Shows nothing where
// `descriptor` is not a terminal, nor before `delay_seconds` have passed; erases itself at the end.
class ProgressBar {
 public:
  ProgressBar(std::string label, std::int64_t total_bytes, int descriptor = 2,
              double delay_seconds = 1.0);
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar();
  void add(std::int64_t bytes);

 private:
  void draw() const;

  std::string label_;
  std::int64_t total_;
  std::int64_t done_ = 0;
  int descriptor_;
  bool on_terminal_;
  bool drawn_ = false;
  double next_draw_;  // seconds
  Timer timer_;
};

}  // namespace cuboid
