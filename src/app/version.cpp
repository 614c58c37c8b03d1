#include <ATen/Version.h>
#include <cuda_runtime_api.h>
#include <hdf5.h>
#include <mpi.h>
#include <nccl.h>
#include <torch/version.h>
#include <boost/version.hpp>

#include <array>

#include "cuboid/app/command.hpp"
#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

std::string mpi_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  const std::string whole(text.data(), static_cast<std::size_t>(length));
  return whole.substr(0, whole.find(','));
}

std::string hdf5_version() {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  H5get_libversion(&major, &minor, &release);
  return format("%u.%u.%u", major, minor, release);
}

// NCCL and CUDA pack versions into one number.
std::string nccl_version() {
  int version = 0;
  ncclGetVersion(&version);
  return format("%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
}
std::string cuda_version() {
  int version = 0;
  cudaRuntimeGetVersion(&version);
  return format("%d.%d", version / 1000, version / 10 % 100);
}

}  // namespace

std::vector<std::pair<std::string, std::string>> versions() {
  return {{"cuboid", CUBOID_VERSION},
          {"mpi", mpi_version()},
          {"nccl", nccl_version()},
          {"cuda", cuda_version()},
          {"libtorch", TORCH_VERSION},
          {"hdf5", hdf5_version()},
          {"boost", format("%d.%d.%d", BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000,
                           BOOST_VERSION % 100)},
          {"compiler", "g++ " __VERSION__}};
}

std::string version_text() {
  std::string text;
  for (const auto& [name, version] : versions()) {
    text += name + std::string(10 - name.size(), ' ') + version + "\n";
  }
  return text;
}

}  // namespace cuboid
