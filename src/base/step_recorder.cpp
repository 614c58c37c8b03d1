#include "cuboid/base/step_recorder.hpp"

#include <algorithm>
#include <utility>

#include "cuboid/base/error.hpp"

namespace cuboid {

std::string_view name_of(StepPart part) {
  switch (part) {
    case StepPart::kForward: return "forward";
    case StepPart::kBackward: return "backward";
    case StepPart::kP2pWait: return "p2p_wait";
    case StepPart::kTpWait: return "tp_wait";
    case StepPart::kDpWait: return "dp_wait";
    case StepPart::kOptimizer: return "optimizer";
    case StepPart::kData: return "data";
    case StepPart::kGraph: return "graph";
    case StepPart::kOther: return "other";
  }
  return "other";
}

std::string label_text(const SpanLabel& label) {
  std::string text(label.communicator);
  if (!text.empty()) text += ' ';
  text += label.what;
  if (label.micro_batch >= 0) text += " mb " + std::to_string(label.micro_batch);
  if (label.chunk >= 0) text += " chunk " + std::to_string(label.chunk);
  return text;
}

void StepRecorder::begin_step(std::int64_t step, Detail detail) {
  require(!recording_, "a step ends before the next begins");
  if (detail == Detail::kSpans && current_.detail != Detail::kSpans) {
    resolve_lagging();
    clock_->align();
  }
  current_.step = step;
  current_.detail = detail;
  current_.events.clear();
  current_.times.clear();
  current_.flights.clear();
  recording_ = true;
  depth_ = 0;
  note({.label = {.what = "step"}, .part = StepPart::kOther, .opens = true});
}

void StepRecorder::end_step() {
  require(recording_ && depth_ == 1, "spans are closed before their step ends");
  note({.label = {}, .part = StepPart::kOther, .opens = false});
  recording_ = false;
  resolve_lagging();
  if (clock_->lags()) {
    lagging_ = current_;
  } else {
    resolve(current_);
  }
}

std::vector<StepRecord> StepRecorder::take(bool all) {
  if (all) resolve_lagging();
  return std::exchange(finished_, {});
}

void StepRecorder::note(const Event& event) {
  // The observer's own time belongs to the span around it.
  const bool observes = observer_ != nullptr && current_.detail == Detail::kSpans;
  if (observes && event.opens) observer_->opened(event.label);
  current_.times.push_back(clock_->mark());
  current_.events.push_back(event);
  if (observes && !event.opens) observer_->closed();
  depth_ += event.opens ? 1 : static_cast<std::size_t>(-1);
}

void StepRecorder::open(StepPart part, const SpanLabel& label) {
  if (recording_) note({.label = label, .part = part, .opens = true});
}

void StepRecorder::close() {
  if (!recording_) return;
  require(depth_ > 1, "a span is opened before it is closed");
  note({.label = {}, .part = StepPart::kOther, .opens = false});
}

std::size_t StepRecorder::begin_flight(StepPart part, const SpanLabel& label) {
  if (!recording_ || current_.detail != Detail::kSpans || clock_->lags()) return 0;
  current_.flights.push_back({label, part, steady_ns(), 0});
  return current_.flights.size();
}

void StepRecorder::end_flight(std::size_t flight) {
  if (!recording_ || flight == 0 || flight > current_.flights.size()) return;
  current_.flights[flight - 1].end_ns = steady_ns();
}

void StepRecorder::resolve_lagging() {
  if (lagging_) resolve(*lagging_);
  lagging_.reset();
}

// Each moment belongs to the innermost span that is open.
void StepRecorder::resolve(RawStep& raw) {
  clock_->resolve(raw.times);
  StepRecord record;
  record.step = raw.step;
  record.is_detailed = raw.detail == Detail::kSpans;
  std::array<std::int64_t, kNumStepParts> ns{};
  std::vector<std::size_t> open;  // slices
  std::vector<Slice> slices;
  for (std::size_t i = 0; i < raw.events.size(); ++i) {
    const Event& event = raw.events[i];
    if (!open.empty()) {
      ns[static_cast<std::size_t>(slices[open.back()].part)] += raw.times[i] - raw.times[i - 1];
    }
    if (event.opens) {
      open.push_back(slices.size());
      slices.push_back({event.label, event.part, raw.times[i], 0});
    } else {
      slices[open.back()].end_ns = raw.times[i];
      open.pop_back();
    }
  }
  record.begin_ns = raw.times.front();
  record.end_ns = raw.times.back();
  for (std::size_t i = 0; i < ns.size(); ++i) record.seconds[i] = static_cast<double>(ns[i]) * 1e-9;
  if (record.is_detailed) {
    record.slices = std::move(slices);
    std::erase_if(raw.flights, [](const Flight& flight) { return flight.end_ns == 0; });
    record.flights = std::move(raw.flights);
  }
  finished_.push_back(std::move(record));
}

}  // namespace cuboid
