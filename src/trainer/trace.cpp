#include "cuboid/trainer/trace.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>

#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

using Json = nlohmann::ordered_json;

enum Track : int { kCompute = 1, kTp, kPp, kDp };

Track track_of(StepPart part) {
  switch (part) {
    case StepPart::kTpWait: return kTp;
    case StepPart::kP2pWait: return kPp;
    case StepPart::kDpWait: return kDp;
    default: return kCompute;
  }
}

// The events of one rank, each after a comma and a line end.
class EventList {
 public:
  explicit EventList(int rank) : rank_(rank) {}

  // The step whose events follow, and the time of this rank's clock that is 0 in the trace. One
  // shift for a whole step: its durations stay what was measured.
  void begin_step(std::int64_t step, std::int64_t origin_ns) {
    step_ = step;
    origin_ns_ = origin_ns;
  }

  void name_process(const std::string& name) {
    add({{"name", "process_name"}, {"ph", "M"}, {"pid", rank_}, {"args", {{"name", name}}}});
    add({{"name", "process_sort_index"},
         {"ph", "M"},
         {"pid", rank_},
         {"args", {{"sort_index", rank_}}}});
  }
  void name_track(Track track, const char* name) {
    add({{"name", "thread_name"},
         {"ph", "M"},
         {"pid", rank_},
         {"tid", static_cast<int>(track)},
         {"args", {{"name", name}}}});
    add({{"name", "thread_sort_index"},
         {"ph", "M"},
         {"pid", rank_},
         {"tid", static_cast<int>(track)},
         {"args", {{"sort_index", static_cast<int>(track)}}}});
  }
  void slice(const Slice& slice, bool is_step) {
    Json args = args_of(slice.label);
    args["step"] = step_;
    add({{"name", is_step ? "step " + std::to_string(step_) : label_text(slice.label)},
         {"cat", name_of(slice.part)},
         {"ph", "X"},
         {"ts", microseconds(slice.begin_ns - origin_ns_)},
         {"dur", microseconds(slice.end_ns - slice.begin_ns)},
         {"pid", rank_},
         {"tid", static_cast<int>(track_of(slice.part))},
         {"args", args}});
  }
  void flight(const Flight& flight) {
    ++num_flights_;
    Json event = {{"name", label_text(flight.label) + " under way"},
                  {"cat", name_of(flight.part)},
                  {"ph", "b"},
                  {"ts", microseconds(flight.begin_ns - origin_ns_)},
                  {"pid", rank_},
                  {"tid", static_cast<int>(track_of(flight.part))},
                  {"id", format("%d-%ld", rank_, static_cast<long>(num_flights_))},
                  {"args", args_of(flight.label)}};
    add(event);
    event["ph"] = "e";
    event["ts"] = microseconds(flight.end_ns - origin_ns_);
    event.erase("args");
    add(event);
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  static double microseconds(std::int64_t ns) { return static_cast<double>(ns) * 1e-3; }
  static Json args_of(const SpanLabel& label) {
    Json args = Json::object();
    if (label.micro_batch >= 0) args["micro_batch"] = label.micro_batch;
    if (label.chunk >= 0) args["chunk"] = label.chunk;
    if (label.bytes >= 0) args["bytes"] = label.bytes;
    return args;
  }
  void add(const Json& event) { text_ += ",\n" + event.dump(); }

  int rank_;
  std::int64_t step_ = 0;
  std::int64_t origin_ns_ = 0;
  std::int64_t num_flights_ = 0;
  std::string text_;
};

void send_text(std::string& text, Communicator& control) {
  auto size = static_cast<std::int64_t>(text.size());
  control.send(buffer_of(size), 0);
  control.send(Buffer{text.data(), size, DType::kUInt8, Place::kHost}, 0);
}

std::string receive_text(Communicator& control, int peer) {
  std::int64_t size = 0;
  control.receive(buffer_of(size), peer);
  std::string text(static_cast<std::size_t>(size), '\0');
  control.receive({text.data(), size, DType::kUInt8, Place::kHost}, peer);
  return text;
}

}  // namespace

std::string Trace::events(int rank, std::int64_t origin_ns) const {
  EventList list(rank);
  list.name_process(format("rank %d (%s) on %s", rank,
                           to_string(coordinate_of(shape_, rank)).c_str(),
                           hosts_.of(rank).c_str()));
  list.name_track(kCompute, "compute");
  if (shape_.tp > 1) list.name_track(kTp, "TP communication");
  if (shape_.pp > 1) list.name_track(kPp, "PP communication");
  if (shape_.dp > 1) list.name_track(kDp, "DP communication");
  for (const StepRecord& step : steps_) {
    const std::int64_t shift_ns = clock_.on_first_rank(step.begin_ns) - step.begin_ns;
    list.begin_step(step.step, origin_ns - shift_ns);
    for (const Slice& slice : step.slices) list.slice(slice, &slice == &step.slices.front());
    for (const Flight& flight : step.flights) list.flight(flight);
  }
  return list.take();
}

std::string Trace::write(const std::string& path, Communicator& control) {
  clock_.end(control);
  std::int64_t origin_ns = steps_.empty() ? 0 : steps_.front().begin_ns;  // rank 0's counts
  control.broadcast(buffer_of(origin_ns), 0);
  std::string mine = events(control.rank(), origin_ns);
  steps_.clear();
  if (control.rank() != 0) return send_text(mine, control), std::string();
  const std::string next = path + ".partial";
  std::ofstream file(next, std::ios::trunc);
  file << R"({"displayTimeUnit": "ms", "traceEvents": [)" << '\n' << mine.substr(2);
  for (int peer = 1; peer < control.size(); ++peer) file << receive_text(control, peer);
  file << "\n]}\n" << std::flush;
  // All that was sent has been taken in, whatever became of the file.
  if (file.good() && std::rename(next.c_str(), path.c_str()) == 0) return {};
  std::string problem = "cannot write '" + next + "': " + std::strerror(errno);
  std::remove(next.c_str());
  return problem;
}

}  // namespace cuboid
