// Steps that are captured into a graph once and then replayed: a launch a step instead of hundreds.
// What decides is here, what CUDA does is behind GraphDevice.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuboid/collective/backend.hpp"
#include "cuboid/config/config.hpp"

namespace cuboid {

class GraphDevice {
 public:
  GraphDevice() = default;
  GraphDevice(const GraphDevice&) = delete;
  GraphDevice& operator=(const GraphDevice&) = delete;
  virtual ~GraphDevice() = default;

  // From here to the end, what this thread gives to the device is kept instead of done. Both throw
  // SystemError; after end_capture() the graph can be launched.
  virtual void begin_capture() = 0;
  virtual void end_capture() = 0;
  // Does what was kept, in the order of the stream.
  virtual void launch() = 0;
  // Gives up a capture under way, or the graph. Nothing where there is neither.
  virtual void discard() noexcept = 0;
};

// A step's passes, collectives and gradient norm, of which nothing waits for the device.
struct StepWork {
  std::function<void()> begin;    // before compute(), never captured; not called for a replay
  std::function<void()> compute;  // the same work whenever the shape is the same
  std::function<void()> abandon;  // after a compute() that threw: begin() may follow
};

class StepGraph {
 public:
  struct Options {
    // A step that cannot be captured is an error, instead of the end of capturing.
    bool is_required = false;
    // Collective: whether all ranks say true. NCCL wants all of them to replay, or none.
    std::function<bool(bool)> agree = [](bool mine) { return mine; };
    // Told, on every rank, why steps are no longer captured.
    std::function<void(const std::string&)> say = [](const std::string&) {};
  };
  // What one step did.
  enum class Ran : unsigned char { kEagerly, kCaptured, kReplayed };

  // Without a device every step runs eagerly.
  StepGraph(std::unique_ptr<GraphDevice> device, Options options);

  // Runs a step: the first of a shape eagerly (memory, connections and workspaces come into being),
  // the second captured and launched, the others replayed; `eagerly` one that is to be seen in its
  // parts. Another shape starts over. Where capturing fails on any rank, all go on eagerly for
  // good, the step included. Collective over the ranks that agree. Throws what the work throws
  // outside of captures, std::logic_error from them, and SystemError where a graph is required.
  Ran run(const std::vector<std::int64_t>& shape, bool eagerly, const StepWork& work);

  // What run() would do: kEagerly means that begin() and compute() are called as they are.
  [[nodiscard]] Ran plan(const std::vector<std::int64_t>& shape, bool eagerly) const;
  [[nodiscard]] bool is_capturing() const { return is_capturing_; }

 private:
  enum class State : unsigned char { kOff, kCold, kWarm, kReady };

  Ran run_eagerly(const StepWork& work);
  Ran capture(const StepWork& work);
  // What went wrong, or "".
  [[nodiscard]] std::string try_to_capture(const StepWork& work);

  std::unique_ptr<GraphDevice> device_;
  Options options_;
  State state_;
  std::vector<std::int64_t> shape_;  // of the steps that warmed up, or of the graph
  bool is_capturing_ = false;
};

// Why steps of this grid cannot be captured, or "". `backend` is what collectives go over.
std::string why_not_captured(const ParallelConfig& parallel, bool is_on_gpu, Backend backend);

}  // namespace cuboid
