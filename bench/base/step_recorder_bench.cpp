// What recording costs: a span outside of steps, inside one (as in every run), and inside a step
// that is traced one by one. A step of training has a few for each micro-batch and each collective.
#include "../harness/measure.hpp"
#include "cuboid/base/step_recorder.hpp"

namespace cuboid::harness {
namespace {

constexpr int kSpans = 1000;

void spans(StepRecorder& recorder) {
  for (int i = 0; i < kSpans; ++i) {
    const Span span(&recorder, StepPart::kForward, {.what = "forward", .micro_batch = i});
    benchmark::DoNotOptimize(i);
  }
}

// Arguments: what is kept; none: the spans are outside of any step.
void run_spans(benchmark::State& state, std::optional<Detail> detail) {
  StepRecorder recorder;
  std::int64_t step = 0;
  const Times times = measure(state, {.action = [&] {
                                if (detail) recorder.begin_step(++step, *detail);
                                spans(recorder);
                                if (detail) recorder.end_step();
                                benchmark::DoNotOptimize(recorder.take());
                              }});
  state.counters["per_span_seconds"] = times.median / kSpans;
}

void register_all() {
  add("span/outside_of_steps", [](benchmark::State& state) { run_spans(state, std::nullopt); });
  add("span/summed", [](benchmark::State& state) { run_spans(state, Detail::kSums); });
  add("span/traced", [](benchmark::State& state) { run_spans(state, Detail::kSpans); });
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
