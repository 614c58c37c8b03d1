// ranks: 1 2
// timeout: 300
// NCCL, and MPI on device memory. At one rank NCCL itself is used, not the shortcut for one.
#include "cuboid/collective/nccl_communicator.hpp"

#include <cstdlib>

#include "cuboid/collective/backend.hpp"
#include "cuboid/collective/mpi_communicator.hpp"
#include "verbs.hpp"

namespace cuboid {
namespace test {

int num_devices() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

int world_rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

// Empty when the ranks of this run have a GPU each, or may share one.
std::string why_no_nccl() {
  const int devices = num_devices();
  if (devices == 0) return "no CUDA device";
  int ranks = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  int version = 0;
  ncclGetVersion(&version);
  const char* shared = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  if (ranks > devices && (version < NCCL_VERSION(2, 30, 0) || shared == nullptr)) {
    return std::to_string(ranks) + " ranks on " + std::to_string(devices) +
           " GPU(s) need NCCL 2.30 or later and NCCL_MULTI_RANK_GPU_ENABLE=1";
  }
  check_cuda(cudaSetDevice(world_rank() % devices));
  return "";
}

struct Nccl {
  static constexpr Place kPlace = Place::kDevice;
  static constexpr std::int64_t kLargest = 400000;
  static std::string why_not() { return why_no_nccl(); }
  static std::unique_ptr<Communicator> make(MPI_Comm comm, const char* name) {
    return std::make_unique<NcclCommunicator>(
        comm, name, NcclOptions{.alone = NcclOptions::Alone::kThroughNccl});
  }
};

struct MpiOnDevice {
  static constexpr Place kPlace = Place::kDevice;
  static constexpr std::int64_t kLargest = 400000;
  static std::string why_not() {
    const int devices = num_devices();
    if (devices == 0) return "no CUDA device";
    check_cuda(cudaSetDevice(world_rank() % devices));
    return "";
  }
  static std::unique_ptr<Communicator> make(MPI_Comm comm, const char* name) {
    return std::make_unique<MpiCommunicator>(comm, name);
  }
};

using Kinds = testing::Types<Nccl, MpiOnDevice>;
INSTANTIATE_TYPED_TEST_SUITE_P(Backend, Verbs, Kinds);

}  // namespace test

namespace {

TEST(NcclCommunicator, WorksOnAComputeStreamOfItsOwn) {
  const std::string reason = test::why_no_nccl();
  if (!reason.empty()) GTEST_SKIP() << reason;
  const CudaStream compute = make_cuda_stream();
  NcclCommunicator comm(
      MPI_COMM_WORLD, "dp",
      {.compute_stream = compute.get(), .alone = NcclOptions::Alone::kThroughNccl});
  constexpr std::int64_t kCount = 1 << 20;
  test::Array data(kCount, DType::kFloat32, Place::kDevice);
  const std::vector<float> ones(kCount, 1.0F);
  std::vector<float> sums(kCount);
  // Without host synchronisation: the copy in, the reduction and the copy out follow by events.
  check_cuda(cudaMemcpyAsync(data.buffer().data, ones.data(), data.buffer().bytes(),
                             cudaMemcpyHostToDevice, compute.get()));
  comm.all_reduce(data.buffer());
  check_cuda(cudaMemcpyAsync(sums.data(), data.buffer().data, data.buffer().bytes(),
                             cudaMemcpyDeviceToHost, compute.get()));
  check_cuda(cudaStreamSynchronize(compute.get()));
  EXPECT_EQ(sums, std::vector<float>(kCount, static_cast<float>(comm.size())));
}

TEST(NcclCommunicator, HostMemoryIsRefused) {
  const std::string reason = test::why_no_nccl();
  if (!reason.empty()) GTEST_SKIP() << reason;
  NcclCommunicator comm(MPI_COMM_WORLD, "dp", {.alone = NcclOptions::Alone::kThroughNccl});
  float value = 1;
  EXPECT_THROW(comm.all_reduce(buffer_of(value)), std::logic_error);
}

TEST(NcclCommunicator, AnExceptionAbortsInsteadOfWaiting) {
  const std::string reason = test::why_no_nccl();
  if (!reason.empty()) GTEST_SKIP() << reason;
  int ranks = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (ranks != 2) GTEST_SKIP() << "is about two ranks";
  test::Array data(1000, DType::kFloat32, Place::kDevice);
  try {
    NcclCommunicator comm(MPI_COMM_WORLD, "pp");
    // Nobody sends.
    const PendingWork never = comm.start_receive(data.buffer(), 1 - comm.rank());
    throw std::runtime_error("failed elsewhere");
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "failed elsewhere");
  }
}

// Runs everywhere: a communicator of one rank needs neither NCCL nor a GPU.
TEST(NcclCommunicator, AloneItNeedsNoDevice) {
  const auto comm = make_communicator(Backend::kNccl, MPI_COMM_SELF, "tp");
  float value = 3;
  comm->all_reduce(buffer_of(value));
  comm->barrier();
  EXPECT_EQ(value, 3.0F);
}

// Runs where there is no GPU: the failure comes at once, on every rank, and says what failed.
TEST(NcclCommunicator, WithoutADeviceSetUpFails) {
  if (test::num_devices() > 0) GTEST_SKIP() << "there is a CUDA device";
  EXPECT_THROW(NcclCommunicator(MPI_COMM_WORLD, "tp", {.alone = NcclOptions::Alone::kThroughNccl}),
               SystemError);
}

}  // namespace
}  // namespace cuboid
