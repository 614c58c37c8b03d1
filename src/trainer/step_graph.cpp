#include "cuboid/trainer/step_graph.hpp"

#include <exception>
#include <stdexcept>
#include <utility>

#include "cuboid/base/error.hpp"

namespace cuboid {

StepGraph::StepGraph(std::unique_ptr<GraphDevice> device, Options options)
    : device_(std::move(device)),
      options_(std::move(options)),
      state_(device_ == nullptr ? State::kOff : State::kCold) {}

StepGraph::Ran StepGraph::plan(const std::vector<std::int64_t>& shape, bool eagerly) const {
  if (eagerly || shape != shape_) return Ran::kEagerly;
  if (state_ == State::kReady) return Ran::kReplayed;
  return state_ == State::kWarm ? Ran::kCaptured : Ran::kEagerly;
}

StepGraph::Ran StepGraph::run(const std::vector<std::int64_t>& shape, bool eagerly,
                              const StepWork& work) {
  if (state_ == State::kOff) return run_eagerly(work);
  if (shape != shape_) {
    device_->discard();
    shape_ = shape;
    state_ = State::kCold;
  }
  switch (plan(shape, eagerly)) {
    case Ran::kReplayed: device_->launch(); return Ran::kReplayed;
    case Ran::kCaptured: return capture(work);
    case Ran::kEagerly: break;
  }
  const Ran ran = run_eagerly(work);
  if (state_ == State::kCold) state_ = State::kWarm;
  return ran;
}

StepGraph::Ran StepGraph::run_eagerly(const StepWork& work) {
  work.begin();
  work.compute();
  return Ran::kEagerly;
}

StepGraph::Ran StepGraph::capture(const StepWork& work) {
  work.begin();
  std::string problem = try_to_capture(work);
  if (options_.agree(problem.empty())) {
    device_->launch();
    state_ = State::kReady;
    return Ran::kCaptured;
  }
  device_->discard();
  state_ = State::kOff;
  if (problem.empty()) problem = "another rank could not";
  if (options_.is_required)
    throw SystemError("--cuda-graph true: the step could not be captured: " + problem);
  options_.say("--cuda-graph auto: steps are not captured into a graph: " + problem);
  work.abandon();
  return run_eagerly(work);
}

std::string StepGraph::try_to_capture(const StepWork& work) {
  is_capturing_ = true;
  std::string problem;
  try {
    device_->begin_capture();
    work.compute();
    device_->end_capture();
  } catch (const std::logic_error&) {
    is_capturing_ = false;
    device_->discard();
    throw;
  } catch (const std::exception& error) {
    device_->discard();
    problem = error.what();
    problem = problem.substr(0, problem.find('\n'));  // LibTorch's texts go on with its stack
    if (problem.empty()) problem = "an error without a text";
  }
  is_capturing_ = false;
  return problem;
}

std::string why_not_captured(const ParallelConfig& parallel, bool is_on_gpu, Backend backend) {
  const std::int64_t stages = parallel.pipeline_parallel_size;
  const std::int64_t ranks = parallel.data_parallel_size * parallel.tensor_parallel_size * stages;
  if (!is_on_gpu) return "there are no CUDA graphs on a CPU";
  // A stage posts receives before the sends that its neighbour needs first: that wants branches
  // that run at the same time, which a graph does not promise. Without stages all ranks have the
  // same graph, so that any order of its branches that the driver takes is the same on all.
  if (stages > 1)
    return "the " + std::to_string(stages) +
           " stages of a pipeline wait for each other in ways that a graph does not promise to "
           "keep up";
  if (ranks > 1 && backend == Backend::kMpi)
    return "collectives go over MPI, which the host has to drive";
  return {};
}

}  // namespace cuboid
