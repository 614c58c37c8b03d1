#include "cuboid/launch/device.hpp"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <csignal>
#include <cstring>
#include <limits>
#include <tuple>
#include <vector>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

void check_cuda(cudaError_t code, const char* what) {
  if (code != cudaSuccess) {
    throw SystemError(std::string("CUDA: ") + what + ": " + cudaGetErrorString(code));
  }
}

// 13000 is 13.0.
std::string version_text(int version) {
  return format("%d.%d", version / 1000, version % 1000 / 10);
}

struct Peak {
  const char* name;
  double bf16;
  double fp32;
};

// Dense figures without sparsity, by whole words of a name: an "L40" is no "L4". Longer names
// first: an "H100 PCIe" is no "H100".
constexpr std::array<Peak, 13> kPeaks{{{"H100 PCIe", 756e12, 51e12},
                                       {"H100 NVL", 835e12, 60e12},
                                       {"H100", 989e12, 67e12},
                                       {"H200", 989e12, 67e12},
                                       {"B200", 2250e12, 80e12},
                                       {"GB200", 2500e12, 80e12},
                                       {"GH200", 989e12, 67e12},
                                       {"A100", 312e12, 19.5e12},
                                       {"A800", 312e12, 19.5e12},
                                       {"L40S", 362e12, 91.6e12},
                                       {"L40", 181e12, 90.5e12},
                                       {"L4", 121e12, 30.3e12},
                                       {"RTX 4090", 165.2e12, 82.6e12}}};

int size_of(MPI_Comm world) {
  int size = 1;
  if (MPI_Comm_size(world, &size) != MPI_SUCCESS) throw SystemError("MPI: MPI_Comm_size failed");
  return size;
}

bool is_part_of_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0;
}

bool has_words(const std::string& text, const std::string& words) {
  for (std::size_t at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) {
    const std::size_t end = at + words.size();
    if ((at == 0 || !is_part_of_word(text[at - 1])) &&
        (end == text.size() || !is_part_of_word(text[end])))
      return true;
  }
  return false;
}

// Set once before the handlers are installed; a signal handler can reach nothing else.
std::array<char, 256> crash_label{};

void report_crash(int signal) {
  // Only async-signal-safe calls from here.
  const auto write_text = [](const char* text) {
    [[maybe_unused]] const auto written = write(STDERR_FILENO, text, std::strlen(text));
  };
  write_text("cuboid: ");
  write_text(crash_label.data());
  write_text(" died of ");
  write_text(signal == SIGSEGV  ? "SIGSEGV (invalid memory access)\n"
             : signal == SIGBUS ? "SIGBUS (a mapped file was cut, or bad memory)\n"
             : signal == SIGFPE ? "SIGFPE (arithmetic error)\n"
                                : "SIGILL (an instruction that this CPU lacks)\n");
  raise(signal);  // SA_RESETHAND: this time the default action
}

}  // namespace

CudaDevices find_cuda_devices() {
  CudaDevices found;
  const cudaError_t code = cudaGetDeviceCount(&found.count);
  if (code == cudaSuccess) return found;
  cudaGetLastError();
  found.count = 0;
  // Without any driver CUDA says the same as with one that is too old.
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (code == cudaErrorNoDevice || driver == 0) return found;
  int runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  found.problem =
      format("%s (the driver is for CUDA %s, this program is built with CUDA %s)",
             cudaGetErrorString(code), version_text(driver).c_str(), version_text(runtime).c_str());
  return found;
}

int cuda_device_count() {
  return find_cuda_devices().count;
}

CudaDevice use_cuda_device(int local_rank) {
  const auto [count, problem] = find_cuda_devices();
  if (count == 0) {
    throw SystemError("CUDA: no device is visible to this process" +
                      (problem.empty() ? "" : ": " + problem));
  }
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    throw SystemError(std::string("cannot load LibTorch's CUDA kernels: ") + dlerror());
  }
  CudaDevice device{.index = local_rank % count, .id = {}, .name = {}};
  check_cuda(cudaSetDevice(device.index), "cudaSetDevice");
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device.index), "cudaGetDeviceProperties");
  device.name = static_cast<const char*>(properties.name);
  device.memory_bytes = properties.totalGlobalMem;
  static_assert(sizeof(properties.uuid.bytes) == std::tuple_size_v<DeviceId>);
  std::copy_n(static_cast<const char*>(properties.uuid.bytes), device.id.size(), device.id.begin());
  return device;
}

int num_devices(MPI_Comm world, const DeviceId& mine) {
  const int size = size_of(world);
  std::vector<DeviceId> all(static_cast<std::size_t>(size));
  const int bytes = static_cast<int>(mine.size());
  if (MPI_Allgather(mine.data(), bytes, MPI_BYTE, all.data(), bytes, MPI_BYTE, world) !=
      MPI_SUCCESS)
    throw SystemError("MPI: MPI_Allgather of devices failed");
  std::ranges::sort(all);
  return static_cast<int>(std::ranges::unique(all).begin() - all.begin());
}

bool is_device_shared(MPI_Comm world, const DeviceId& mine) {
  return num_devices(world, mine) < size_of(world);
}

double known_peak_flops(const std::string& gpu_name, bool fp32) {
  for (const Peak& peak : kPeaks) {
    if (has_words(gpu_name, peak.name)) return fp32 ? peak.fp32 : peak.bf16;
  }
  return 0.0;
}

void keep_freed_memory() {
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
}

void name_this_rank_when_it_crashes(const std::string& label) {
  std::strncpy(crash_label.data(), label.c_str(), crash_label.size() - 1);
  struct sigaction action{};
  action.sa_handler = report_crash;
  action.sa_flags = SA_RESETHAND | SA_NODEFER;
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) sigaction(signal, &action, nullptr);
}

}  // namespace cuboid
