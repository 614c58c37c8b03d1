// ranks: 1
// Which attention kernel a run takes, with times that are made up.
#include "cuboid/trainer/attention_choice.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <map>

#include "cuboid/collective/mpi_communicator.hpp"
#include "cuboid/config/attention_kernel.hpp"

namespace cuboid {
namespace {

using Kernel = AttentionKernel;

class DecideKernel : public testing::Test {
 protected:
  DecideKernel() {
    config_.model.num_attention_heads = 12;  // of 64
    config_.runtime.dtype = Precision::kBFloat16;
  }
  AttentionChoice decide(const std::string& recorded = "") {
    asked_.clear();
    return decide_attention_kernel(config_, recorded, [this](Kernel kernel) {
      asked_.push_back(kernel);
      return ms_[kernel];
    });
  }
  Config config_;
  std::map<Kernel, std::optional<double>> ms_ = {{Kernel::kFlash, 2.0}, {Kernel::kCudnn, 1.0}};
  std::vector<Kernel> asked_;
};

TEST_F(DecideKernel, TheFasterOne) {
  EXPECT_EQ(decide().kernel, Kernel::kCudnn);
  ms_[Kernel::kFlash] = 0.5;
  const AttentionChoice choice = decide("auto");
  EXPECT_EQ(choice.kernel, Kernel::kFlash);
  EXPECT_EQ(choice.report,
            "Attention: flash, measured for a layer: flash 0.500 ms, cudnn 1.000 ms");
}

TEST_F(DecideKernel, WhatIsResumedDoesNotDependOnTimes) {
  EXPECT_EQ(decide("flash").kernel, Kernel::kFlash);
  EXPECT_EQ(decide("efficient").kernel, Kernel::kEfficient);
  EXPECT_TRUE(asked_.empty());
}

TEST_F(DecideKernel, ARecordedKernelThatDoesNotTakeThisRunIsLeft) {
  config_.runtime.dtype = Precision::kFloat32;
  EXPECT_EQ(decide("flash").kernel, Kernel::kEfficient);
  EXPECT_TRUE(asked_.empty()) << "there is nothing to choose";
}

TEST_F(DecideKernel, WhatTheOptionNamesWins) {
  config_.runtime.attention_kernel = Kernel::kCudnn;
  EXPECT_EQ(decide("flash").kernel, Kernel::kCudnn);
  EXPECT_TRUE(asked_.empty());
}

TEST_F(DecideKernel, WhatDoesNotRunIsNotTaken) {
  ms_[Kernel::kCudnn] = std::nullopt;
  const AttentionChoice choice = decide();
  EXPECT_EQ(choice.kernel, Kernel::kFlash);
  EXPECT_NE(choice.report.find("cudnn does not run here"), std::string::npos);
  ms_[Kernel::kFlash] = std::nullopt;
  EXPECT_EQ(decide().kernel, Kernel::kEfficient);
}

TEST_F(DecideKernel, SaysThatCudnnHasNoFixedOrder) {
  EXPECT_NE(decide("cudnn").report.find("last bit"), std::string::npos);
  EXPECT_EQ(decide("flash").report.find("last bit"), std::string::npos);
}

TEST(UsableKernel, IsAutoForOtherWords) {
  EXPECT_EQ(usable_kernel("cudnn", Precision::kBFloat16, 64), Kernel::kCudnn);
  EXPECT_EQ(usable_kernel("cudnn", Precision::kBFloat16, 256), Kernel::kAuto);
  for (const char* other : {"", "auto", "fastest"})
    EXPECT_EQ(usable_kernel(other, Precision::kBFloat16, 64), Kernel::kAuto) << other;
}

TEST(AttentionCandidates, FollowTypeAndWidth) {
  using Kernels = std::vector<Kernel>;
  EXPECT_EQ(attention_candidates(Precision::kBFloat16, 64),
            (Kernels{Kernel::kFlash, Kernel::kCudnn}));
  EXPECT_EQ(attention_candidates(Precision::kBFloat16, 192), Kernels{Kernel::kFlash});
  EXPECT_EQ(attention_candidates(Precision::kBFloat16, 20), Kernels{Kernel::kEfficient});
  EXPECT_EQ(attention_candidates(Precision::kFloat32, 64), Kernels{Kernel::kEfficient});
}

TEST(ChooseKernel, OnACpuThereIsNoChoice) {
  MpiCommunicator control(MPI_COMM_WORLD, "control");
  const AttentionChoice choice = choose_attention_kernel({}, c10::kCPU, "flash", control);
  EXPECT_EQ(choice.kernel, Kernel::kAuto);
  EXPECT_EQ(choice.report, "");
}

}  // namespace
}  // namespace cuboid
