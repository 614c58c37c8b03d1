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

void check_cuda_graph(Findings& findings) {
  const Config& config = findings.resolved();
  if (config.runtime.cuda_graph != true) return;
  const auto add = [&](std::string_view other, const std::string& why, const std::string& instead) {
    findings.add({"cuda-graph", other}, "--cuda-graph true does not work with " +
                                            findings.value_of(other) + ": " + why +
                                            "; legal: --cuda-graph auto or false, or " + instead);
  };
  if (config.runtime.device == DeviceChoice::kCpu)
    add("device", "a CPU has no CUDA graphs", "--device cuda");
  if (config.parallel.pipeline_parallel_size > 1)
    add("pipeline-parallel-size",
        "stages wait for each other in ways that a graph does not keep up",
        "--pipeline-parallel-size 1");
  if (config.runtime.comm_backend == BackendChoice::kMpi && findings.facts().world_size > 1)
    add("comm-backend", "the host has to drive MPI's collectives", "--comm-backend nccl");
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
  check_cuda_graph(findings);
}

}  // namespace cuboid
