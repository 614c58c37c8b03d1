// Where a step's time goes: spans that code opens and closes around what it does, added up by part,
// and kept one by one while a run is profiled.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cuboid/base/step_clock.hpp"

namespace cuboid {

// What time is spent on. Time inside a span that an inner span takes counts for the inner one only.
enum class StepPart : unsigned char {
  kForward,
  kBackward,
  kP2pWait,  // calls for messages between stages, and the wait of stages for each other: the bubble
  kTpWait,   // calls for tensor-parallel collectives: what compute does not hide of them
  kDpWait,   // the same of data-parallel ones
  kOptimizer,
  kData,
  kOther,
  kGraph,  // a step's passes and collectives, replayed as one: not told apart
};
constexpr std::size_t kNumStepParts = 9;
// "forward", "p2p_wait", ...
std::string_view name_of(StepPart part);

// The texts must outlive the record: literals, or a communicator's name.
struct SpanLabel {
  std::string_view what;
  std::string_view communicator{};
  int micro_batch = -1;  // -1: of none
  int chunk = -1;
  std::int64_t bytes = -1;
};
// "forward mb 3 chunk 0", "tp all_reduce"
std::string label_text(const SpanLabel& label);

// A closed span of a recorded step.
struct Slice {
  SpanLabel label;
  StepPart part = StepPart::kOther;
  std::int64_t begin_ns = 0;  // of the clock; see StepClock
  std::int64_t end_ns = 0;
};

// Something under way beside the program, from its start until its end was noticed.
struct Flight {
  SpanLabel label;
  StepPart part = StepPart::kOther;
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

struct StepRecord {
  std::int64_t step = 0;
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  std::array<double, kNumStepParts> seconds{};  // by part; their sum is the step
  bool is_detailed = false;
  std::vector<Slice> slices;  // of a detailed step, in the order of their begin
  std::vector<Flight> flights;
};

enum class Detail : unsigned char { kSums, kSpans };

// Is told of every span of a detailed step as it opens and closes (ranges for a profiler).
class SpanObserver {
 public:
  SpanObserver() = default;
  SpanObserver(const SpanObserver&) = delete;
  SpanObserver& operator=(const SpanObserver&) = delete;
  virtual ~SpanObserver() = default;
  virtual void opened(const SpanLabel& label) = 0;
  virtual void closed() = 0;
};

// Records on one thread, and only between begin_step() and end_step(); spans elsewhere cost a
// comparison. Spans nest: the last opened is closed first (std::logic_error otherwise).
class StepRecorder {
 public:
  StepRecorder() : clock_(make_host_clock()) {}
  // Between steps.
  void use_clock(std::unique_ptr<StepClock> clock) { clock_ = std::move(clock); }

  void begin_step(std::int64_t step, Detail detail);
  void end_step();
  // The steps that have ended since the last call. Where the clock lags (a GPU's), the last one
  // only comes with the next, or with `all`, which waits for the device.
  std::vector<StepRecord> take(bool all = false);

  [[nodiscard]] bool is_recording() const { return recording_; }
  // Whether the step under way is kept span by span.
  [[nodiscard]] bool keeps_spans() const { return recording_ && current_.detail == Detail::kSpans; }
  // False where time is the device's: calls that give it no work take none.
  [[nodiscard]] bool counts_host_time() const { return !clock_->lags(); }
  void open(StepPart part, const SpanLabel& label);
  void close();
  // Of a detailed step, by the host's clock: 0 where nothing is recorded. The flight must end in
  // the step that it began in, or it is forgotten.
  std::size_t begin_flight(StepPart part, const SpanLabel& label);
  void end_flight(std::size_t flight);

  // Must outlive the recorder's use; null: nobody.
  void observe_with(SpanObserver* observer) { observer_ = observer; }

 private:
  friend class RecordingPause;
  struct Event {
    SpanLabel label;
    StepPart part;
    bool opens;
  };
  struct RawStep {
    std::int64_t step = 0;
    Detail detail = Detail::kSums;
    std::vector<Event> events;
    std::vector<std::int64_t> times;  // of each event, after begin and before end of the step
    std::vector<Flight> flights;      // end_ns 0: still under way
  };

  void note(const Event& event);
  void resolve_lagging();
  void resolve(RawStep& raw);

  std::unique_ptr<StepClock> clock_;
  SpanObserver* observer_ = nullptr;
  bool recording_ = false;
  std::size_t depth_ = 0;
  RawStep current_;
  std::optional<RawStep> lagging_;
  std::vector<StepRecord> finished_;
};

// Nothing is recorded for as long as this lives, where `pauses`. Spans that are open stay so.
class RecordingPause {
 public:
  RecordingPause(StepRecorder& recorder, bool pauses)
      : recorder_(pauses && recorder.recording_ ? &recorder : nullptr) {
    if (recorder_ != nullptr) recorder_->recording_ = false;
  }
  RecordingPause(const RecordingPause&) = delete;
  RecordingPause& operator=(const RecordingPause&) = delete;
  ~RecordingPause() {
    if (recorder_ != nullptr) recorder_->recording_ = true;
  }

 private:
  StepRecorder* recorder_;
};

// A span for as long as this lives; nothing where the recorder is null or not recording.
class Span {
 public:
  Span(StepRecorder* recorder, StepPart part, const SpanLabel& label)
      : recorder_(recorder != nullptr && recorder->is_recording() ? recorder : nullptr) {
    if (recorder_ != nullptr) recorder_->open(part, label);
  }
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;
  ~Span() {
    if (recorder_ != nullptr && recorder_->is_recording()) recorder_->close();
  }

 private:
  StepRecorder* recorder_;
};

}  // namespace cuboid
