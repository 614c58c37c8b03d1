#include "cuboid/trainer/attention_choice.hpp"

#include <ATen/ops/rand.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <vector>

#include "cuboid/base/text.hpp"
#include "cuboid/base/timer.hpp"
#include "cuboid/config/attention_kernel.hpp"
#include "cuboid/config/option.hpp"
#include "cuboid/model/attention.hpp"
#include "cuboid/trainer/compute_stream.hpp"

namespace cuboid {
namespace {

std::string name_of(AttentionKernel kernel) {
  Config config;
  config.runtime.attention_kernel = kernel;
  return find_option("attention-kernel")->get(config);
}

// Milliseconds of a layer's attention, forward and backward: the fastest of three rounds. None
// where LibTorch refuses the kernel on this GPU.
std::optional<double> measure(const Config& config, c10::Device device, AttentionKernel kernel) {
  constexpr int kRounds = 3;
  constexpr int kPasses = 5;
  const ModelConfig& model = config.model;
  const std::int64_t tp = config.parallel.tensor_parallel_size;
  const AttentionShape shape{.sequences = config.batch.micro_batch_size,
                             .seq = model.seq_length,
                             .heads = model.num_attention_heads / tp,
                             .kv_heads = model.num_key_value_heads / tp,
                             .head_dim = model.head_dim()};
  const auto options =
      at::TensorOptions(config.runtime.dtype == Precision::kBFloat16 ? at::kBFloat16 : at::kFloat)
          .device(device);
  try {
    const std::int64_t tokens = shape.sequences * shape.seq;
    const at::Tensor qkv = at::rand({tokens, shape.width()}, options);
    const at::Tensor d_output = at::rand({tokens, shape.heads * shape.head_dim}, options);
    const auto pass = [&] {
      (void)AttentionCore::forward(qkv, shape, kernel).backward(d_output, qkv, shape);
    };
    pass();  // chooses algorithms, takes memory
    std::optional<double> best;
    for (int round = 0; round < kRounds; ++round) {
      wait_for_stream(device);
      const Timer timer;
      for (int i = 0; i < kPasses; ++i) pass();
      wait_for_stream(device);
      best = std::min(best.value_or(timer.ms()), timer.ms());
    }
    return *best / kPasses;
  } catch (const std::logic_error&) {
    throw;
  } catch (const std::exception&) {
    cudaGetLastError();  // is nobody else's
    return std::nullopt;
  }
}

std::string report_of(AttentionKernel kernel, const std::string& why) {
  std::string line = "Attention: " + name_of(kernel) + ", " + why;
  // LibTorch has no mode for cuDNN that adds in a fixed order.
  if (kernel == AttentionKernel::kCudnn)
    line +=
        "; its gradients differ in the last bit from run to run (--attention-kernel flash: do not)";
  return line;
}

}  // namespace

AttentionChoice decide_attention_kernel(
    const Config& config, const std::string& recorded,
    const std::function<std::optional<double>(AttentionKernel)>& ms_of) {
  const Precision dtype = config.runtime.dtype;
  const std::int64_t head_dim = config.model.head_dim();
  const AttentionKernel wanted = config.runtime.attention_kernel;
  if (wanted != AttentionKernel::kAuto)
    return {wanted, report_of(wanted, "as --attention-kernel says")};
  if (const auto then = usable_kernel(recorded, dtype, head_dim); then != AttentionKernel::kAuto)
    return {then, report_of(then, "as in the checkpoint to go on from")};
  const std::vector<AttentionKernel> candidates = attention_candidates(dtype, head_dim);
  AttentionKernel best = candidates.front();
  if (candidates.size() == 1) return {best, report_of(best, "which takes this type and width")};
  std::optional<double> best_ms;
  std::vector<std::string> times;
  for (const AttentionKernel kernel : candidates) {
    const auto ms = ms_of(kernel);
    times.push_back(name_of(kernel) +
                    (ms ? format(" %.3f ms", *ms) : std::string(" does not run here")));
    if (!ms || (best_ms && *best_ms <= *ms)) continue;
    best = kernel;
    best_ms = ms;
  }
  if (!best_ms) best = AttentionKernel::kEfficient;
  return {best, report_of(best, "measured for a layer: " + join(times, ", "))};
}

AttentionChoice choose_attention_kernel(const Config& config, c10::Device device,
                                        const std::string& recorded, Communicator& control) {
  if (!device.is_cuda()) return {};
  AttentionChoice choice;
  if (control.rank() == 0) {
    choice = decide_attention_kernel(
        config, recorded, [&](AttentionKernel kernel) { return measure(config, device, kernel); });
  }
  auto kernel = static_cast<std::int64_t>(choice.kernel);
  control.broadcast(buffer_of(kernel), 0);
  choice.kernel = static_cast<AttentionKernel>(kernel);
  return choice;
}

}  // namespace cuboid
