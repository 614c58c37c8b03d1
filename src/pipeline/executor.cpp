#include "cuboid/pipeline/executor.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "cuboid/base/error.hpp"
#include "cuboid/base/timer.hpp"

namespace cuboid {
namespace {

// Rank 0 of a communicator between neighbours is the earlier stage.
constexpr int kEarlier = 0;
constexpr int kLater = 1;

// Sends under way in one direction before the stage waits. A schedule is safe with none; more let a
// stage run ahead of a late neighbour, at the price of one boundary tensor each.
constexpr std::size_t kMaxPendingSends = 8;

at::Tensor take(std::map<int, at::Tensor>& tensors, int micro_batch) {
  auto node = tensors.extract(micro_batch);
  return node ? std::move(node.mapped()) : at::Tensor();
}

bool has_backward(std::span<const Action> actions) {
  return std::ranges::any_of(
      actions, [](const Action& action) { return action.kind == ActionKind::kBackward; });
}

std::size_t last_backward(std::span<const Action> actions) {
  std::size_t last = actions.size();
  for (std::size_t i = 0; i < actions.size(); ++i) {
    if (actions[i].kind == ActionKind::kBackward) last = i;
  }
  return last;
}

// "receive_activation mb 3 chunk 0"
SpanLabel label_of(const Action& action) {
  return {.what = name_of(action.kind), .micro_batch = action.micro_batch, .chunk = action.chunk};
}

}  // namespace

PipelineExecutor::PipelineExecutor(StageCompute& stage, const GridCommunicators& communicators)
    : stage_(stage),
      recorder_(*communicators.recorder),
      has_neighbours_(communicators.activation_in->size() == 2 ||
                      communicators.activation_out->size() == 2),
      activations_in_(*communicators.activation_in, kEarlier, recorder_),
      gradients_in_(*communicators.gradient_in, kLater, recorder_),
      activations_out_(*communicators.activation_out, kLater, kMaxPendingSends, recorder_),
      gradients_out_(*communicators.gradient_out, kEarlier, kMaxPendingSends, recorder_) {}

void PipelineExecutor::run(std::span<const Action> actions) {
  try {
    run_all(actions);
    finish();
  } catch (...) {
    abandon();
    throw;
  }
}

void PipelineExecutor::run_all(std::span<const Action> actions) {
  bool& has_run = has_backward(actions) ? has_trained_ : has_evaluated_;
  const bool posts_ahead = std::exchange(has_run, true);
  const std::size_t last = last_backward(actions);
  std::size_t posted = 0;
  for (std::size_t i = 0; i < actions.size(); ++i) {
    const std::size_t end = std::max(posted, posts_ahead ? posted_before(actions, i) : i + 1);
    post_receives(actions.subspan(posted, end - posted));
    posted = end;
    perform(actions[i], i == last);
    poll();
  }
}

void PipelineExecutor::post_receives(std::span<const Action> actions) {
  for (const Action& action : actions) {
    if (!is_receive(action.kind)) continue;
    const Span span(&recorder_, StepPart::kP2pWait, {.what = "post"});
    Inbox& inbox = action.kind == ActionKind::kReceiveActivation ? activations_in_ : gradients_in_;
    inbox.post(stage_.boundary_shape(), stage_.boundary_options(), label_of(action));
  }
}

void PipelineExecutor::perform(const Action& action, bool is_last_backward) {
  require(action.chunk == 0, "a stage has one model part");
  switch (action.kind) {
    case ActionKind::kForward: return forward(action);
    case ActionKind::kBackward: return backward(action, is_last_backward);
    case ActionKind::kReceiveActivation: return receive(activations_in_, inputs_, action);
    case ActionKind::kReceiveGradient: return receive(gradients_in_, output_gradients_, action);
    case ActionKind::kSendActivation: return send(activations_out_, outputs_, action);
    case ActionKind::kSendGradient: return send(gradients_out_, input_gradients_, action);
    case ActionKind::kBackwardInput:
    case ActionKind::kBackwardWeight: break;
  }
  require(false, "a stage computes whole backwards");
}

void PipelineExecutor::forward(const Action& action) {
  const Span span(&recorder_, StepPart::kForward, label_of(action));
  at::Tensor output = stage_.forward(action.micro_batch, take(inputs_, action.micro_batch));
  if (output.defined()) outputs_[action.micro_batch] = std::move(output);
}

void PipelineExecutor::backward(const Action& action, bool is_last) {
  const Span span(&recorder_, StepPart::kBackward, label_of(action));
  const int micro_batch = action.micro_batch;
  at::Tensor gradient = stage_.backward(micro_batch, take(output_gradients_, micro_batch), is_last);
  if (gradient.defined()) input_gradients_[micro_batch] = std::move(gradient);
}

void PipelineExecutor::receive(Inbox& inbox, Tensors& to, const Action& action) {
  const Span span(&recorder_, StepPart::kP2pWait, label_of(action));
  const Timer timer;
  to[action.micro_batch] = inbox.take();
  wait_seconds_ += timer.seconds();
}

void PipelineExecutor::send(Outbox& outbox, Tensors& from, const Action& action) {
  at::Tensor tensor = take(from, action.micro_batch);
  require(tensor.defined(), "the compute before a send has a result");
  // The neighbour allocates by the boundary: anything else would be cut off or misread.
  require(tensor.sizes() == at::IntArrayRef(stage_.boundary_shape()) &&
              tensor.scalar_type() == c10::typeMetaToScalarType(stage_.boundary_options().dtype()),
          "what passes between stages has the boundary's shape and type");
  const Span span(&recorder_, StepPart::kP2pWait, label_of(action));
  const Timer timer;
  outbox.send(tensor.contiguous(), label_of(action));
  wait_seconds_ += timer.seconds();
}

void PipelineExecutor::poll() {
  if (!has_neighbours_) return;
  const Span span(recorder_.counts_host_time() ? &recorder_ : nullptr, StepPart::kP2pWait,
                  {.what = "poll"});
  activations_in_.poll();
  gradients_in_.poll();
  activations_out_.poll();
  gradients_out_.poll();
}

void PipelineExecutor::finish() {
  const Span span(has_neighbours_ ? &recorder_ : nullptr, StepPart::kP2pWait,
                  {.what = "finish sends"});
  const Timer timer;
  activations_out_.finish();
  gradients_out_.finish();
  wait_seconds_ += timer.seconds();
  require(
      inputs_.empty() && outputs_.empty() && output_gradients_.empty() && input_gradients_.empty(),
      "a schedule uses and sends everything that it computes and receives");
}

void PipelineExecutor::abandon() {
  activations_in_.abandon();
  gradients_in_.abandon();
  activations_out_.abandon();
  gradients_out_.abandon();
  for (Tensors* tensors : {&inputs_, &outputs_, &output_gradients_, &input_gradients_}) {
    tensors->clear();
  }
}

}  // namespace cuboid
