#include "device_problem.hpp"

#include <string>
#include <string_view>

#include "cuboid/config/attention_kernel.hpp"

namespace cuboid {
namespace {

void check_attention_kernel(Findings& findings) {
  const Config& config = findings.resolved();
  const AttentionKernel kernel = config.runtime.attention_kernel;
  if (kernel == AttentionKernel::kAuto || config.model.num_attention_heads == 0) return;
  const std::string given = findings.value_of("attention-kernel");
  if (config.runtime.device == DeviceChoice::kCpu) {
    findings.add({"attention-kernel", "device"},
                 given +
                     " does not work with --device cpu, which has one kernel; legal: "
                     "--attention-kernel auto, or --device cuda");
    return;
  }
  if (takes(kernel, config.runtime.dtype, config.model.head_dim())) return;
  findings.add({"attention-kernel", "dtype", "hidden-size", "num-attention-heads"},
               given + " takes bf16 and heads whose width is a multiple of 8, up to " +
                   (kernel == AttentionKernel::kFlash ? "256" : "128") + ", but these are " +
                   findings.value_of("dtype") + " and a width of " +
                   std::to_string(config.model.head_dim()) +
                   "; legal: --attention-kernel auto or efficient");
}

void check_backend(Findings& findings) {
  const auto& runtime = findings.resolved().runtime;
  if (runtime.comm_backend != BackendChoice::kNccl || runtime.device != DeviceChoice::kCpu) return;
  findings.add({"comm-backend", "device"},
               "--comm-backend nccl does not work with --device cpu; legal: --comm-backend mpi or "
               "auto, or --device cuda or auto");
}

}  // namespace

void check_device(Findings& findings) {
  check_backend(findings);
  check_attention_kernel(findings);
}

}  // namespace cuboid
