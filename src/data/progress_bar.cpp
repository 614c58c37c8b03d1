#include "cuboid/data/progress_bar.hpp"

#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

constexpr double kRedrawSeconds = 0.1;

// A terminal that is gone is no reason to fail.
void write_text(int descriptor, std::string_view text) {
  [[maybe_unused]] const ssize_t written = ::write(descriptor, text.data(), text.size());
}

}  // namespace

ProgressBar::ProgressBar(std::string label, std::int64_t total_bytes, int descriptor,
                         double delay_seconds)
    : label_(std::move(label)),
      total_(std::max<std::int64_t>(total_bytes, 1)),
      descriptor_(descriptor),
      on_terminal_(::isatty(descriptor) == 1),
      next_draw_(delay_seconds) {}

ProgressBar::~ProgressBar() {
  if (drawn_) write_text(descriptor_, "\r\x1b[K");
}

void ProgressBar::add(std::int64_t bytes) {
  done_ = std::min(done_ + bytes, total_);
  if (!on_terminal_) return;
  const double now = timer_.seconds();
  if (now < next_draw_) return;
  next_draw_ = now + kRedrawSeconds;
  drawn_ = true;
  draw();
}

void ProgressBar::draw() const {
  constexpr std::size_t kWidth = 24;
  const double share = static_cast<double>(done_) / static_cast<double>(total_);
  const auto filled = static_cast<std::size_t>(share * kWidth);
  const double left = timer_.seconds() * (1.0 - share) / std::max(share, 1e-9);
  write_text(descriptor_,
             "\r\x1b[K" + label_ + " [" + std::string(filled, '#') +
                 std::string(kWidth - filled, ' ') + "] " + format("%.0f %%  ", share * 100) +
                 short_bytes(static_cast<double>(done_)) + " of " +
                 short_bytes(static_cast<double>(total_)) + "  " + short_duration(left) + " left");
}

}  // namespace cuboid
