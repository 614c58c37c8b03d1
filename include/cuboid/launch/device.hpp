// Which processor a rank computes on. GPUs are asked for through the CUDA runtime, which answers at
// once where there is none; LibTorch's CUDA half (over a second of loading) is opened only when a
// GPU is used.
#pragma once

#include <mpi.h>

#include <array>
#include <string>

namespace cuboid {

// CUDA devices that this process sees. Honours CUDA_VISIBLE_DEVICES.
struct CudaDevices {
  int count = 0;
  // Why a driver that is there shows none (it is older than the runtime, a GPU is lost, ...); ""
  // where there is no driver, or just no device.
  std::string problem;
};
CudaDevices find_cuda_devices();
int cuda_device_count();

// The UUID of a device: the same however many a process sees and whatever number it gives them.
using DeviceId = std::array<char, 16>;

struct CudaDevice {
  int index = 0;
  DeviceId id{};
  std::string name;              // "NVIDIA H100 80GB HBM3"
  std::size_t memory_bytes = 0;  // of the device
};

// Makes device (local_rank modulo the number of devices) this process's own and loads LibTorch's
// CUDA kernels. Throws SystemError.
CudaDevice use_cuda_device(int local_rank);

// Collective over `world`: the devices that its ranks compute on together, and whether any two
// ranks share one; the same answer on all. Each rank may see all devices of its node, or only its
// own (srun --gpus-per-task).
int num_devices(MPI_Comm world, const DeviceId& mine);
bool is_device_shared(MPI_Comm world, const DeviceId& mine);

// bf16 FLOP/s (dense) of a GPU by its name, from NVIDIA's data sheets; fp32 for `fp32`. 0: unknown.
double known_peak_flops(const std::string& gpu_name, bool fp32);

// Keeps freed memory in the process: activations of each step reuse the pages of the last, where
// glibc would give large blocks back and have the kernel zero them anew.
void keep_freed_memory();

// On SIGSEGV, SIGBUS, SIGFPE and SIGILL: writes "cuboid: LABEL died of ..." to standard error and
// dies of the same signal. `label` names rank and coordinate.
void name_this_rank_when_it_crashes(const std::string& label);

}  // namespace cuboid
